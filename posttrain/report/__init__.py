"""One self-contained page, and the same numbers as a table, from the folders that the stages left behind."""
