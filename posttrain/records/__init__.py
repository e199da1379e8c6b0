"""What trainers write into the folder of a run."""
