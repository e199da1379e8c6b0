"""The embedded task, its data, the tiny model, and the conductor of `make demo`."""
