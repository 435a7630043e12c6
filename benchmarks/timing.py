"""Timing of several tasks in alternation, so that other load on the machine has little effect on their ratios."""

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Times:
    """Times of all calls of a task in seconds: wall time, and processor time summed over this process's threads."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    @property
    def best(self) -> float:
        """Minimum wall time."""
        return min(self.wall)

    @property
    def median(self) -> float:
        """Median wall time."""
        return statistics.median(self.wall)


def time_in_turn(tasks: Mapping[Name, Callable[[], object]], turns: int, calls: int = 1) -> dict[Name, Times]:
    """Time every task in ``turns`` rounds. Each round calls every task ``calls`` times.

    A task must block until its result is ready. Nothing is warmed up here. With more than one call per round,
    after-effects of the previous task (active threads, caches) affect only the first one.
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
