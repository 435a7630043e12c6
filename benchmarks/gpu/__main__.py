"""Runs the parts one after another, each in a process of its own with a time limit of its own (``benchmarks/gpu.sh``).

Every part writes its results as it finds them, to FOLDER/PART.json; at the end (and after Ctrl-C or SIGTERM) a table of
all that is there is printed and written to FOLDER/summary.md. A part that fails or runs out of time costs the others
nothing.
The exit status is 1 where a part failed; one that was cut off counts as such in a rehearsal only.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

# By name alone: this process starts neither JAX nor PyTorch, which would hold memory of the GPU.
LIMITS = {
    "step-LGCN": 150,
    "profile": 45,
    "extraction": 60,
    "pose": 60,
    "step-AP": 100,
    "step-RGCN": 110,
    "share": 90,
    "micro-batches": 90,
    "ranking": 90,
}
"""Seconds of each part, the most important first."""

IN_ALL = 230
"""Seconds for everything."""

REHEARSAL = 10
"""Times the seconds for everything has a rehearsal: a CPU that others load may need a minute to compile a toy step."""

LEAST = 15
"""Seconds: with less than that left no part is begun."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts; the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks/gpu.sh", description="Figures of a GPU in a few minutes.")
    parser.add_argument("--parts", default=",".join(LIMITS), help="in this order; default: all, %(default)s")
    parser.add_argument("--out", type=Path, default=Path("gpu-results"), help="folder (default: %(default)s)")
    parser.add_argument(
        "--seconds",
        type=float,
        help=f"for everything (default: {IN_ALL}, rehearsing {REHEARSAL} times that); with more, parts may take longer",
    )
    parser.add_argument("--rehearse", action="store_true", help="toy sizes on the CPU")
    a = parser.parse_args(argv)
    parts = [part for part in a.parts.split(",") if part]
    if unknown := [part for part in parts if part not in LIMITS]:
        parser.error(f"--parts: unknown {', '.join(unknown)}; there are {', '.join(LIMITS)}.")
    a.out.mkdir(parents=True, exist_ok=True)
    seconds = IN_ALL * (REHEARSAL if a.rehearse else 1) if a.seconds is None else a.seconds
    end = time.monotonic() + seconds
    states: dict[str, str] = {}
    try:
        for part in parts:
            left = end - time.monotonic()
            if left < LEAST:
                states[part] = "not begun: the time is up"
                continue
            limit = min(left, limit_of(part, seconds))
            print(f"{part} (at most {limit:.0f} s)", flush=True)
            states[part] = run(part, a.out, limit, a.rehearse)
            print(f"  -> {states[part]}", flush=True)
    finally:
        text = table(parts, a.out, states)
        (a.out / "summary.md").write_text(text, encoding="utf-8")
        print(f"\n{text}\nin {a.out}/, a file a part; again or the rest: --parts=...")
    bad = ("failed", "cut off", "not begun") if a.rehearse else ("failed",)
    return int(any(state.startswith(bad) for state in states.values()))


def limit_of(part: str, seconds: float) -> float:
    """Seconds that a part may take where there are ``seconds`` for everything: with more than usual all may take
    longer, in proportion.
    """
    return LIMITS[part] * max(1.0, seconds / IN_ALL)


def run(part: str, out: Path, limit: float, rehearse: bool) -> str:
    """Run one part; how it ended. What it prints goes to FOLDER/PART.log."""
    (out / f"{part}.json").unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.gpu.parts", part, f"--out={out}"] + ["--rehearse"] * rehearse
    environment = dict(os.environ, **({"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""} if rehearse else {}))
    start = time.monotonic()
    with (out / f"{part}.log").open("w", encoding="utf-8") as log:
        # In a session of its own, with the workers of torch.compile: all of them end together.
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            return f"cut off after {limit:.0f} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if status:
        last = (out / f"{part}.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
        return f"failed with status {status}: {' | '.join(last)}"
    return f"complete after {time.monotonic() - start:.0f} s"


def table(parts: Sequence[str], out: Path, states: dict[str, str]) -> str:
    """All that has been measured, in Markdown."""
    rows = [f"XLA_FLAGS={os.environ.get('XLA_FLAGS', '')}", "", "| part | measurement | result |", "|---|---|---|"]
    for part in parts:
        file = out / f"{part}.json"
        found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        rows.append(f"| {part} | | {states.get(part, 'not begun')} |")
        for name, value in found.items():
            for text in _texts(value):
                rows.append(f"| {part} | {name} | {text} |")
    return "\n".join(rows) + "\n"


def _texts(value: object) -> list[str]:
    """A row for each entry of a list, else one."""
    if isinstance(value, list):
        return [text for entry in value for text in _texts(entry)]
    if isinstance(value, dict):
        return [", ".join(f"{name} {entry}" for name, entry in value.items())]
    return [str(value)]


if __name__ == "__main__":
    # As Ctrl-C: the part that runs is ended, and the table written.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())
