"""Runs the parts of the GPU benchmark one after another, in separate processes with time limits
(``benchmarks/gpu.sh``).

Every part writes its results immediately, to FOLDER/PART.json; at the end (and after Ctrl-C or SIGTERM) a table of all
results is printed and written to FOLDER/summary.md. A part that fails or exceeds its limit does not affect the others.
The exit status is 1 if a part failed; exceeding the limit counts as failure in a rehearsal only.
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

# By name, since this process must not start JAX or PyTorch, which would allocate GPU memory.
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
"""Time limit of each part in seconds, the most important first."""

IN_ALL = 230
"""Total time limit in seconds."""

REHEARSAL = 10
"""Factor of the total time limit in a rehearsal, since a loaded CPU may need a minute to compile a toy step."""

LEAST = 15
"""Minimum remaining time to start a part, in seconds."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts; return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks/gpu.sh", description="Figures of a GPU in a few minutes.")
    parser.add_argument("--parts", default=",".join(LIMITS), help="parts, in this order; default: all, %(default)s")
    parser.add_argument("--out", type=Path, default=Path("gpu-results"), help="folder (default: %(default)s)")
    parser.add_argument(
        "--seconds",
        type=float,
        help=f"total time limit (default: {IN_ALL}, in a rehearsal {REHEARSAL} times that); with more, the limit of "
        "each part grows in proportion",
    )
    parser.add_argument("--rehearse", action="store_true", help="toy sizes on the CPU")
    a = parser.parse_args(argv)
    parts = [part for part in a.parts.split(",") if part]
    if unknown := [part for part in parts if part not in LIMITS]:
        parser.error(f"--parts: unknown {', '.join(unknown)}; expected some of {', '.join(LIMITS)}.")
    a.out.mkdir(parents=True, exist_ok=True)
    seconds = IN_ALL * (REHEARSAL if a.rehearse else 1) if a.seconds is None else a.seconds
    end = time.monotonic() + seconds
    states: dict[str, str] = {}
    try:
        for part in parts:
            left = end - time.monotonic()
            if left < LEAST:
                states[part] = "not started: the time is up"
                continue
            limit = min(left, limit_of(part, seconds))
            print(f"{part} (at most {limit:.0f} s)", flush=True)
            states[part] = run(part, a.out, limit, a.rehearse)
            print(f"  -> {states[part]}", flush=True)
    finally:
        text = table(parts, a.out, states)
        (a.out / "summary.md").write_text(text, encoding="utf-8")
        print(f"\n{text}\nin {a.out}/, a file a part; again or the rest: --parts=...")
    bad = ("failed", "cut off", "not started") if a.rehearse else ("failed",)
    return int(any(state.startswith(bad) for state in states.values()))


def limit_of(part: str, seconds: float) -> float:
    """Seconds that a part may take where there are ``seconds`` for everything: with more than usual all may take
    longer, in proportion.
    """
    return LIMITS[part] * max(1.0, seconds / IN_ALL)


def run(part: str, out: Path, limit: float, rehearse: bool) -> str:
    """Run one part; return how it ended. Its output goes to FOLDER/PART.log."""
    (out / f"{part}.json").unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.gpu.parts", part, f"--out={out}"] + ["--rehearse"] * rehearse
    environment = dict(os.environ, **({"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""} if rehearse else {}))
    start = time.monotonic()
    with (out / f"{part}.log").open("w", encoding="utf-8") as log:
        # In its own session, with the workers of torch.compile, so that all are ended together.
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
    """All measurements as a Markdown table."""
    rows = [f"XLA_FLAGS={os.environ.get('XLA_FLAGS', '')}", "", "| part | measurement | result |", "|---|---|---|"]
    for part in parts:
        file = out / f"{part}.json"
        found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        rows.append(f"| {part} | | {states.get(part, 'not started')} |")
        for name, value in found.items():
            for text in _texts(value):
                rows.append(f"| {part} | {name} | {text} |")
    return "\n".join(rows) + "\n"


def _texts(value: object) -> list[str]:
    """One row for each entry of a list, else a single one."""
    if isinstance(value, list):
        return [text for entry in value for text in _texts(entry)]
    if isinstance(value, dict):
        return [", ".join(f"{name} {entry}" for name, entry in value.items())]
    return [str(value)]


if __name__ == "__main__":
    # Like Ctrl-C: the running part is ended, and the table written.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())
