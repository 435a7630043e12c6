#!/usr/bin/env bash
# Cloud TPU VMs: run on every worker of a slice; each finds its number and the first worker's address in its metadata.
#
#   gcloud compute tpus tpu-vm ssh NAME --zone=ZONE --worker=all \
#     --command='cd /shared/rgcn_jax && launch/tpu_vm.sh --config=configs/mars.py --workdir=/shared/runs/mars'
#
# PYTHON is the interpreter (default: .venv/bin/python).
set -euo pipefail

metadata() {
  curl -sSf -H 'Metadata-Flavor: Google' \
    "http://${GCE_METADATA_IP:-metadata.google.internal}/computeMetadata/v1/instance/attributes/$1"
}

JAX_PROCESS_ID=$(metadata agent-worker-number)
# One worker an entry, in order, separated by commas: its address alone, or the last of three fields.
IFS=, read -ra workers <<<"$(metadata worker-network-endpoints)"
export JAX_PROCESS_ID JAX_NUM_PROCESSES=${#workers[@]} JAX_COORDINATOR_ADDRESS=${workers[0]##*:}:8476

exec "${PYTHON:-.venv/bin/python}" -m rgcn_jax.main "$@"
