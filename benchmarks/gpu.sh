#!/usr/bin/env bash
# All GPU figures of docs/performance.md in one command of less than four minutes:
#
#     benchmarks/gpu.sh                          # the most important parts first, until the time is up
#     benchmarks/gpu.sh --parts=step-AP,ranking  # what was left, or one part again
#     benchmarks/gpu.sh --rehearse               # toy sizes on the CPU: does everything run?
#
# Needs this repository, jax, flax, optax, numpy, jaxtyping and torch; no data, no network. PYTHON: the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."
# Both libraries share the GPU's memory; PyTorch's threads must not spin while JAX has its turn. Set before both start.
export XLA_PYTHON_CLIENT_PREALLOCATE=${XLA_PYTHON_CLIENT_PREALLOCATE:-false} OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
exec "${PYTHON:-python3}" -m benchmarks.gpu "$@"
