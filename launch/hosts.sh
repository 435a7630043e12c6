#!/usr/bin/env bash
# Several machines by ssh, such as GPU VMs of a cloud: one process each, which drives all GPUs of its machine.
#
#   HOSTS="vm-0 vm-1" FOLDER=/shared/rgcn_jax launch/hosts.sh --config=configs/mars.py --workdir=/shared/runs/mars [...]
#
# FOLDER is the checkout, with its .venv, on every machine (PYTHON for another interpreter). The machines reach the first one by
# its name in HOSTS (COORDINATOR for another) at port PORT (8476). SSH is the command (default: ssh -o BatchMode=yes
# -o ServerAliveInterval=15, to detect broken connections).
#
# SIGTERM and SIGINT (Ctrl-C) are forwarded: the run saves a checkpoint and exits with 75, also if a connection breaks. The
# same command resumes. Exit status: the first failure, else 75, else 0. After a failure the others have 60 s to exit.
set -euo pipefail
set -m # each ssh gets its own process group, so that Ctrl-C does not kill it before the run has saved
# shellcheck source=launch/wait_for_all.bash
source "$(dirname "${BASH_SOURCE[0]}")/wait_for_all.bash"

read -ra hosts <<<"${HOSTS:?must name the machines, such as HOSTS=\"vm-0 vm-1\"}"
read -ra ssh <<<"${SSH:-ssh -o BatchMode=yes -o ServerAliveInterval=15}"
folder=${FOLDER:?must name the folder of the checkout on every machine}
address=${COORDINATOR:-${hosts[0]#*@}}:${PORT:-8476}

# Remotely, a line on standard input is a signal for the run; end of file means SIGTERM, and SIGKILL after a minute.
# On one line, since not every remote shell understands how bash quotes line breaks.
# shellcheck disable=SC2016 # expanded there
far_side='exec 3<&0; "$@" & run=$!; { while read -r signal; do kill -s "$signal" "$run"; done'
# shellcheck disable=SC2016
far_side+='; kill -s TERM "$run"; sleep 60; kill -s KILL "$run"; } <&3 >/dev/null 2>&1 & watcher=$!'
# shellcheck disable=SC2016
far_side+='; status=0; wait "$run" || status=$?; kill "$watcher"; exit "$status"'

folder_of_pipes=$(mktemp -d)
trap 'rm -rf "$folder_of_pipes"' EXIT
declare -A running=() # process id -> number
names=()
pipes=()              # number -> where its machine reads signals
for i in "${!hosts[@]}"; do
  printf -v remote '%q ' cd "$folder"
  printf -v start '%q ' env "JAX_COORDINATOR_ADDRESS=$address" "JAX_NUM_PROCESSES=${#hosts[@]}" "JAX_PROCESS_ID=$i" \
    bash -c "$far_side" run "${PYTHON:-.venv/bin/python}" -m rgcn_jax.main "$@"
  mkfifo "$folder_of_pipes/$i"
  exec {pipe}<>"$folder_of_pipes/$i" # opened for reading and writing, so that neither side blocks
  pipes[i]=$pipe
  "${ssh[@]}" "${hosts[$i]}" "$remote&& $start" <"$folder_of_pipes/$i" > >(sed -u "s/^/[${hosts[$i]}] /") 2>&1 &
  running[$!]=$i
  names[i]="the process on ${hosts[$i]}"
done

# shellcheck disable=SC2329 # invoked by the trap and by wait_for_all
send() { for i in "${running[@]}"; do echo "$1" >&"${pipes[i]}"; done; }
trap 'send TERM' TERM INT HUP

wait_for_all
