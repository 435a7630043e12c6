"""How often tests that kill a command at random moments do so."""

import os

KILLS = 20 if os.environ.get("RGCN_JAX_FULL_FAULTS") else 4
"""Every kill costs a start of the command and of its workers: twenty are left to RGCN_JAX_FULL_FAULTS=1. A run of
training is killed a quarter as often, and stopped as often by SIGTERM."""
