"""What ``benchmarks/gpu.sh`` runs: the figures of a GPU, part by part, in a few minutes."""
