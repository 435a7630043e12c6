#!/usr/bin/env bash
# SLURM: one process per node, which uses all its GPUs. From the checkout's root, on a shared file system:
#
#   sbatch --nodes=2 --gpus-per-node=8 launch/slurm.sh --config=configs/mars.py --workdir=/shared/runs/mars [...]
#
# PYTHON is the interpreter (default: .venv/bin/python). Five minutes before the time limit, and when the job is preempted, the
# run receives SIGTERM: it saves, ends with status 75, and the job is queued again to resume, a hundred times at most. A failure
# ends it.
#SBATCH --job-name=rgcn_jax
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=rgcn_jax-%j.log
set -euo pipefail

: "${SLURM_JOB_NODELIST:?is not set: start this by sbatch}"
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
# A port derived from the job id, since two jobs may share a node.
export JAX_COORDINATOR_ADDRESS=${nodes[0]}:$((20000 + SLURM_JOB_ID % 10000)) JAX_NUM_PROCESSES=$SLURM_NTASKS

# Since version 22.05 srun does not inherit --cpus-per-task from sbatch, and would bind the run to a single core.
# When a process dies the others exit by themselves, each with a message; --wait is a fallback.
status=0
# shellcheck disable=SC2016 # the number of the process is known on its node only
srun ${SLURM_CPUS_PER_TASK:+--cpus-per-task="$SLURM_CPUS_PER_TASK"} --kill-on-bad-exit=0 --wait=120 bash -c 'JAX_PROCESS_ID=$SLURM_PROCID exec "$0" -m rgcn_jax.main "$@"' \
  "${PYTHON:-.venv/bin/python}" "$@" || status=$?

# srun's status is the highest of all: 75 only where no process was killed, and one that fails ends the others with 1.
if ((status == 75 && ${SLURM_RESTART_COUNT:-0} < 100)); then
  echo "the run has saved a checkpoint and exited: the job is queued again"
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
