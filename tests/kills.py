"""How often tests that kill a command at random moments do so."""

import os

KILLS = 20 if os.environ.get("RGCN_JAX_FULL_FAULTS") else 6
"""Every kill costs a start of the command and of its workers: twenty are left to RGCN_JAX_FULL_FAULTS=1."""
