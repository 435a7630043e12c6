"""Times of several tasks that are run in turn, so that other load on the machine disturbs their ratios little."""

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
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
