"""Number of CPU cores available to this process, according to its affinity and cgroup quota.

`os.cpu_count` returns all cores of the machine, even if a container may use only two of them; that many threads would
compete for two cores. Linux limits a process by affinity (`os.sched_getaffinity`), and by processor time per period
(cgroup `cpu.max`, in the older version `cpu.cfs_quota_us`), which Docker, Kubernetes and SLURM use.
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
    """Number of usable cores, at least 1; a quota of 1.5 cores counts as 2.

    ``membership``: file that names this process's cgroup, one line per hierarchy. ``cgroups``: mount point of the
    cgroups.
    """
    quotas = [math.ceil(quota) for quota in _quotas(membership, cgroups)]
    return max(min([_cores_by_affinity(), *quotas]), 1)


def limit_threads(
    environment: MutableMapping[str, str] = os.environ, membership: Path = MEMBERSHIP, cgroups: Path = CGROUPS
) -> None:
    """Set the variables ``BY_AFFINITY`` to the usable cores if a quota allows fewer than the affinity does.

    Variables that are already set are kept. Call it before JAX and TensorFlow start; worker processes inherit it.
    """
    cores = usable_cores(membership, cgroups)
    if cores < _cores_by_affinity():
        for name in BY_AFFINITY:
            environment.setdefault(name, str(cores))


def _cores_by_affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quotas(membership: Path, cgroups: Path) -> Iterator[float]:
    """Quotas in cores of this process's cgroup and its ancestors, all of which apply; none without quotas or files."""
    for line in _read(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = cgroups / "cpu" if controllers else cgroups
        # In a container the path may be that on the host, while the control files of its own cgroup are at the root.
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
    """Text of a file; empty if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
