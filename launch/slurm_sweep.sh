#!/usr/bin/env bash
# SLURM: the runs of a table as an array of jobs, on a shared file system. From the checkout's root, eight jobs of one GPU:
#
#   sbatch --array=0-7 --gpus-per-node=1 launch/slurm_sweep.sh table3 --out=/shared/runs/tables --dataset=mars [...]
#
# PYTHON is the interpreter (default: .venv/bin/python). The jobs share the runs by the locks of their folders; where the file
# system has none, add --only to a command of your own (docs/sweeps.md). Five minutes before the time limit, and on preemption,
# a job saves its run, ends with status 75 and is queued again, a hundred times at most.
#SBATCH --job-name=rgcn_jax-sweep
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=rgcn_jax-sweep-%A-%a.log
set -euo pipefail

: "${SLURM_ARRAY_TASK_ID:?is not set: start this by sbatch --array=0-7}"
status=0
srun ${SLURM_CPUS_PER_TASK:+--cpus-per-task="$SLURM_CPUS_PER_TASK"} "${PYTHON:-.venv/bin/python}" -m rgcn_jax.sweep "$@" --no-table || status=$?

if ((status == 75 && ${SLURM_RESTART_COUNT:-0} < 100)); then
  echo "received a signal, the run is saved: the job is queued again"
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
