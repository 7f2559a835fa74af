"""Measurements: ratios taken side by side in one run, because machines are noisy.

`python -m benchmarks` prints a table and writes `build/bench.json`. Each module of this package
has a function `measure()` that returns `{name: Measurement}`.
"""
