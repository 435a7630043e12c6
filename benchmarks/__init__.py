"""Scripts that print tables of times and ratios; run from the repository's root as ``python -m benchmarks.NAME``."""
