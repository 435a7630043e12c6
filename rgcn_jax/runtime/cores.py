"""How many CPU cores this process may use: by its affinity and its cgroup's quota, not by the machine.

A container on a node of 64 cores may have two of them. `os.cpu_count` then says 64, and as many threads would take
turns on two cores. Linux limits a process in two ways: by the set of cores that it may run on
(`os.sched_getaffinity`), and by processor time in each period (cgroup `cpu.max`, in the older version
`cpu.cfs_quota_us`), which is how Docker, Kubernetes and SLURM limit a job.
"""

import math
import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path, PurePosixPath

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")

BY_AFFINITY = ("NPROC", "TF_NUM_INTRAOP_THREADS")
"""Variables with the number of threads of XLA on the CPU and of TensorFlow, which go by the affinity without them."""


def usable_cores(membership: Path = MEMBERSHIP, cgroups: Path = CGROUPS) -> int:
    """The number of cores, at least 1; a quota of 1.5 cores counts as 2.

    Args:
      membership: the file that names this process's cgroup, a line a hierarchy.
      cgroups: where the control files of the cgroups are mounted.
    """
    quotas = [math.ceil(quota) for quota in _quotas(membership, cgroups)]
    return max(min([_cores_by_affinity(), *quotas]), 1)


def limit_threads(
    environment: MutableMapping[str, str] = os.environ, membership: Path = MEMBERSHIP, cgroups: Path = CGROUPS
) -> None:
    """Sets the variables ``BY_AFFINITY`` to the usable cores where a quota allows fewer than the affinity does; a
    variable that is set already stays. Call it before JAX and TensorFlow start; worker processes inherit it.
    """
    cores = usable_cores(membership, cgroups)
    if cores < _cores_by_affinity():
        for name in BY_AFFINITY:
            environment.setdefault(name, str(cores))


def _cores_by_affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quotas(membership: Path, cgroups: Path) -> Iterator[float]:
    """Cores by the quota of this process's cgroup and of all above it, each of which holds; none where there is no
    quota, or no such file.
    """
    for line in _read(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = cgroups / "cpu" if controllers else cgroups
        # In a container the path may be the host's, while the control files of its own cgroup are at the root.
        of_process = PurePosixPath(path.lstrip("/"))
        for group in (of_process, *of_process.parents):
            yield from _quota(root / group, version=1 if controllers else 2)


def _quota(group: Path, version: int) -> Iterator[float]:
    if version == 2:
        values = _read(group / "cpu.max").split()
    else:
        values = [_read(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    if len(values) == 2 and all(value.isdigit() for value in values) and int(values[1]) > 0:
        yield int(values[0]) / int(values[1])


def _read(path: Path) -> str:
    """The text of a file; nothing where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
