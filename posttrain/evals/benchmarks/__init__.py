"""The benchmarks in the box, one a file: a function of the file's name that returns a `Benchmark`."""
