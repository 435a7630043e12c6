#!/usr/bin/env bash
# One machine: PROCESSES processes train one model together, the GPUs (if there are any) shared out equally.
#
#   launch/local.sh PROCESSES --config=configs/mars.py [--workdir=DIR] [--config.field=value ...]
#
# One process drives all GPUs of a machine, so `python -m rgcn_jax.main` alone is enough there; several read and decode
# in as many processes. PYTHON is the interpreter (default: python). GPUs are those of CUDA_VISIBLE_DEVICES, else all.
#
# SIGTERM and SIGINT (Ctrl-C) are passed on: the run saves and ends with status 75. The same command resumes.
# Status: 0, or the first that is not; one that failed outranks 75. When one process fails, the rest get 60 s to end.
set -euo pipefail
set -m # each process gets a group of its own, so that Ctrl-C reaches it once, by us

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
# On a CPU a step's large arrays lie in huge pages (docs/performance.md); not read where the C library is not glibc.
export GLIBC_TUNABLES=${GLIBC_TUNABLES-glibc.malloc.hugetlb=1}
export JAX_COORDINATOR_ADDRESS=127.0.0.1:$port JAX_NUM_PROCESSES=$processes

declare -A running=() # process id -> number
for ((i = 0; i < processes; i++)); do
  export JAX_PROCESS_ID=$i
  if ((share)); then
    visible=$(IFS=, && echo "${gpus[*]:i*share:share}")
    export CUDA_VISIBLE_DEVICES=$visible
  fi
  if ((i == 0)); then
    "$python" -m rgcn_jax.main "$@" &
  else # only the first one tells of the run; what the others say is an error
    "$python" -m rgcn_jax.main "$@" > >(sed -u "s/^/[process $i] /" >&2) 2>&1 &
  fi
  running[$!]=$i
done

# shellcheck disable=SC2329 # the trap invokes it
pass_on() { kill -s TERM "${!running[@]}" 2>/dev/null || true; }
trap pass_on TERM INT HUP

status=0 watchdog=
while ((${#running[@]})); do
  code=0 ended=
  wait -n -p ended "${!running[@]}" || code=$?
  [ -n "${ended:-}" ] || continue # a signal was passed on
  echo "process ${running[$ended]} of $processes ended with status $code" >&2
  unset "running[$ended]"
  if ((code != 0 && (status == 0 || status == 75))); then status=$code; fi
  if ((code != 0 && code != 75 && ${#running[@]})) && [ -z "$watchdog" ]; then
    (sleep 60 && kill -s KILL "${!running[@]}") 2>/dev/null &
    watchdog=$!
  fi
done
[ -z "$watchdog" ] || kill -s KILL -- "-$watchdog" 2>/dev/null || true
exit "$status"
