#!/usr/bin/env bash
# One machine: PROCESSES processes train one model together; GPUs, if any, are divided equally.
#
#   launch/local.sh PROCESSES --config=configs/mars.py [--workdir=DIR] [--config.field=value ...]
#
# One process drives all GPUs of a machine, so `python -m rgcn_jax.main` alone is enough there; several read and decode
# in as many processes. PYTHON is the interpreter (default: python). GPUs are those of CUDA_VISIBLE_DEVICES, else all.
#
# SIGTERM and SIGINT (Ctrl-C) are forwarded: the run saves a checkpoint and exits with status 75. The same command resumes it.
# Exit status: the first failure, else 75, else 0. After a failure the other processes have 60 s to exit.
set -euo pipefail
set -m # each process gets its own group, so that Ctrl-C reaches it once, through this script
# shellcheck source=launch/wait_for_all.bash
source "$(dirname "${BASH_SOURCE[0]}")/wait_for_all.bash"

processes=${1:-}
if ! [[ $processes =~ ^[1-9][0-9]*$ ]]; then
  echo "usage: launch/local.sh PROCESSES --config=FILE [...], PROCESSES a number of 1 or more, found '$processes'" >&2
  exit 2
fi
shift
python=${PYTHON:-python}

gpus=()
if [ -n "${CUDA_VISIBLE_DEVICES:-}" ]; then
  IFS=, read -ra gpus <<<"$CUDA_VISIBLE_DEVICES"
elif [ -z "${CUDA_VISIBLE_DEVICES+set}" ] && command -v nvidia-smi >/dev/null; then
  mapfile -t gpus < <(nvidia-smi --query-gpu=index --format=csv,noheader)
fi
if ((${#gpus[@]} % processes)); then
  echo "launch/local.sh: ${#gpus[@]} GPUs cannot be shared equally by $processes processes: choose a divisor." >&2
  exit 2
fi
share=$((${#gpus[@]} / processes))

port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
# On a CPU, use huge pages for the large arrays of a step (docs/performance.md); ignored without glibc.
export GLIBC_TUNABLES=${GLIBC_TUNABLES-glibc.malloc.hugetlb=1}
export JAX_COORDINATOR_ADDRESS=127.0.0.1:$port JAX_NUM_PROCESSES=$processes

declare -A running=() # process id -> number
names=()
for ((i = 0; i < processes; i++)); do
  export JAX_PROCESS_ID=$i
  if ((share)); then
    visible=$(IFS=, && echo "${gpus[*]:i*share:share}")
    export CUDA_VISIBLE_DEVICES=$visible
  fi
  if ((i == 0)); then
    "$python" -m rgcn_jax.main "$@" &
  else # only process 0 logs; the output of the others is errors
    "$python" -m rgcn_jax.main "$@" > >(sed -u "s/^/[process $i] /" >&2) 2>&1 &
  fi
  running[$!]=$i
  names[i]="process $i of $processes"
done

# shellcheck disable=SC2329 # invoked by the trap and by wait_for_all
send() { kill -s "$1" "${!running[@]}" 2>/dev/null || true; }
trap 'send TERM' TERM INT HUP

wait_for_all
