#!/usr/bin/env bash
# Several machines by ssh, such as GPU VMs of a cloud: one process each, which drives all GPUs of its machine.
#
#   HOSTS="vm-0 vm-1" FOLDER=/shared/rgcn_jax launch/hosts.sh --config=configs/mars.py --workdir=/shared/runs/mars [...]
#
# FOLDER is the checkout, with its .venv, on every machine (PYTHON for another interpreter). The machines reach the first one by
# its name in HOSTS (COORDINATOR for another) at port PORT (8476). SSH is the command (default: ssh -o BatchMode=yes).
#
# SIGTERM and SIGINT (Ctrl-C) are passed on: the run saves and ends with status 75; so it does when the connection breaks. The
# same command resumes. Status: 0, or the first that is not; one that failed outranks 75.
set -euo pipefail
set -m # each ssh gets a group of its own, so that Ctrl-C does not end it before the run has saved

read -ra hosts <<<"${HOSTS:?must name the machines, such as HOSTS=\"vm-0 vm-1\"}"
read -ra ssh <<<"${SSH:-ssh -o BatchMode=yes}"
folder=${FOLDER:?must name the folder of the checkout on every machine}
address=${COORDINATOR:-${hosts[0]#*@}}:${PORT:-8476}

# On the machine: a line on the standard input, or its end, is a SIGTERM for the run.
# In one line: not every shell there reads what bash quotes a line break as.
# shellcheck disable=SC2016 # expanded there
far_side='exec 3<&0; "$@" & run=$!'
# shellcheck disable=SC2016
far_side+='; { while read -r _; do kill -s TERM "$run"; done; kill -s TERM "$run"; } <&3 >/dev/null 2>&1 & told=$!'
# shellcheck disable=SC2016
far_side+='; status=0; wait "$run" || status=$?; kill "$told"; exit "$status"'

pipes=$(mktemp -d)
trap 'rm -rf "$pipes"' EXIT
declare -A running=() # process id -> number
tell=()               # where each machine is told to go
for i in "${!hosts[@]}"; do
  printf -v remote '%q ' cd "$folder"
  printf -v start '%q ' env "JAX_COORDINATOR_ADDRESS=$address" "JAX_NUM_PROCESSES=${#hosts[@]}" "JAX_PROCESS_ID=$i" \
    bash -c "$far_side" run "${PYTHON:-.venv/bin/python}" -m rgcn_jax.main "$@"
  mkfifo "$pipes/$i"
  exec {pipe}<>"$pipes/$i" # open at both ends: neither side waits for the other
  tell[i]=$pipe
  "${ssh[@]}" "${hosts[$i]}" "$remote&& $start" <"$pipes/$i" > >(sed -u "s/^/[${hosts[$i]}] /") 2>&1 &
  running[$!]=$i
done

# shellcheck disable=SC2329 # the trap invokes it
pass_on() { for i in "${running[@]}"; do echo go >&"${tell[i]}"; done; }
trap pass_on TERM INT HUP

status=0
while ((${#running[@]})); do
  code=0 ended=
  wait -n -p ended "${!running[@]}" || code=$?
  [ -n "${ended:-}" ] || continue # a signal was passed on
  echo "the process on ${hosts[${running[$ended]}]} ended with status $code" >&2
  unset "running[$ended]"
  if ((code != 0 && (status == 0 || status == 75))); then status=$code; fi
done
exit "$status"
