"""Times of several tasks that are run in turn, so that other load on the machine disturbs their ratios little."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Times:
    """Of all calls of one task, in seconds: on the clock, and of the processor, summed over this process's threads."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    @property
    def best(self) -> float:
        """The shortest time on the clock."""
        return min(self.wall)

    @property
    def median(self) -> float:
        """The median of the times on the clock."""
        return statistics.median(self.wall)


def time_in_turn(tasks: Mapping[Name, Callable[[], object]], turns: int, calls: int = 1) -> dict[Name, Times]:
    """Times of every task over ``turns`` rounds; in each every task is called ``calls`` times, one after another.

    A task has to wait for its own result. Nothing is warmed up here. With more than one call a turn, what the task
    before has left behind (threads still awake, caches) touches the first one only.
    """
    times = {name: Times() for name in tasks}
    for _ in range(turns):
        for name, task in tasks.items():
            for _ in range(calls):
                cpu, wall = time.process_time(), time.perf_counter()
                task()
                times[name].wall.append(time.perf_counter() - wall)
                times[name].cpu.append(time.process_time() - cpu)
    return times


def machine() -> str:
    """The processor, how many of its cores this process may use, and the load of the last minute."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        models = [
            line for line in information.read_text(encoding="utf-8").splitlines() if line.startswith("model name")
        ]
        name = models[0].split(":", 1)[1].strip() if models else name
    load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{cores} core(s) of {name}{load}"
