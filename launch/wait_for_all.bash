# shellcheck shell=bash disable=SC2154
# Sourced by local.sh and hosts.sh, which start the processes.
#
# wait_for_all: waits for those of the array `running` (process id -> number), reports the exit status of each by its name in
# `names`, and returns 0, or the first other status; one that failed outranks 75. When one has failed, the others get 60 s to
# end, then `send KILL`: a process that never connected to its peers does not notice their exit.
wait_for_all() {
  local status=0 watchdog="" pid code
  while ((${#running[@]})); do
    # Only waits for any of them: bash forgets, here, those of several that a signal has ended at once.
    wait -n "${!running[@]}" 2>/dev/null || true
    for pid in "${!running[@]}"; do
      if kill -0 "$pid" 2>/dev/null; then continue; fi
      code=0
      wait "$pid" 2>/dev/null || code=$?
      echo "${names[running[$pid]]} ended with status $code" >&2
      unset "running[$pid]"
      if ((code && (status == 0 || status == 75))); then status=$code; fi
    done
    if ((status && ${#running[@]})) && [ -z "$watchdog" ]; then
      (sleep 60 && send KILL) &
      watchdog=$!
    fi
  done
  [ -z "$watchdog" ] || kill -s KILL -- "-$watchdog" 2>/dev/null || true
  return "$status"
}
