"""The tests mirror the package: a folder for each of its folders; `benchmarks/` is no part of a run."""
