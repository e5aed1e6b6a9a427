"""The tests mirror the package: one folder for each of its folders; `benchmarks/` is never part of a test run."""
