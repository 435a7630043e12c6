"""Experiments over several runs: sweeps, tables, paired comparisons and robustness curves."""
