"""From the user's files to rows, and from rows to token ids."""
