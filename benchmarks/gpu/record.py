"""Results of one part: a JSON file that is complete after every measurement."""

import json
from pathlib import Path
from typing import Any

from benchmarks.timing import Times


class Record:
    """Values by name; ``add`` prints the value and rewrites the file."""

    def __init__(self, path: Path):
        self._path = path
        self._values: dict[str, Any] = {}

    def add(self, name: str, value: Any) -> None:
        """Add a plain value."""
        self._values[name] = value
        print(f"  {name}: {json.dumps(value)}", flush=True)
        scratch = self._path.with_suffix(".new")
        scratch.write_text(json.dumps(self._values, indent=1), encoding="utf-8")
        scratch.replace(self._path)

    def add_times(self, name: str, times: Times, images: int = 0, **more: Any) -> None:
        """Add minimum and median in milliseconds; with ``images``, also images per second."""
        value = {"ms": round(1e3 * times.best, 4), "median_ms": round(1e3 * times.median, 4), "calls": len(times.wall)}
        rate = {"per_second": round(images / times.best, 1)} if images else {}
        self.add(name, {**value, **rate, **more})

    def add_ratios(self, times: dict[str, Times], ours: str = "JAX") -> None:
        """Add the speedup of ``ours`` over each other, by minima and by medians of calls in alternation."""
        for name, t in times.items():
            if name != ours:
                mine = times[ours]
                ratios = {"of_minima": round(t.best / mine.best, 3), "of_medians": round(t.median / mine.median, 3)}
                self.add(f"speed of {ours} / {name}", ratios)
