"""Measurements of quality and speed on real data; run `python -m benchmarks.quality --help`."""
