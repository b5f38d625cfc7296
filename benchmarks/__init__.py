"""Measurements of quality, speed and memory; run ``python -m benchmarks --help``."""
