#!/usr/bin/env bash
# SLURM: a data set is embedded into a gallery by an array of jobs, on a shared file system. From the checkout's root, eight
# jobs of one GPU:
#
#   sbatch --array=0-7 --gpus-per-node=1 launch/slurm_gallery.sh --gallery=/shared/people --model=/shared/runs/mars [...]
#
# PYTHON is the interpreter (default: .venv/bin/python). The arguments are those of rgcn-jax gallery add. The jobs share the
# tracklets by locks in the gallery's folder (docs/gallery.md). A job that is preempted or reaches its time limit is queued
# again, at most a hundred times; what it has added is kept, and the others continue.
#SBATCH --job-name=rgcn_jax-gallery
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=rgcn_jax-gallery-%A-%a.log
set -euo pipefail

: "${SLURM_ARRAY_TASK_ID:?is not set: start this by sbatch --array=0-7}"
status=0
srun ${SLURM_CPUS_PER_TASK:+--cpus-per-task="$SLURM_CPUS_PER_TASK"} "${PYTHON:-.venv/bin/python}" -m rgcn_jax gallery add "$@" --shared || status=$?

# 143: ended by SIGTERM.
if ((status == 143 && ${SLURM_RESTART_COUNT:-0} < 100)); then
  echo "received a signal: the job is queued again"
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
