"""The real command line on a tiny run of walkers, started, watched, and made to die at a chosen moment."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]

TINY = (
    "--config=configs/walkers.py",
    "--config.image_height=32",
    "--config.image_width=16",
    "--config.frames_per_clip=3",
    "--config.batch.identities=2",
    "--config.batch.clips_per_identity=2",
    "--config.model.stage_sizes=(1,)",
    "--config.model.width=4",
    "--config.model.pose_features=16",
    "--config.evaluation.clips_per_batch=8",
    "--config.log_every_steps=1",
    "--config.data.walkers.train_identities=8",
    "--config.data.walkers.test_identities=4",
    "--config.data.walkers.group_size=2",
    "--config.data.walkers.cameras=2",
    "--config.data.walkers.min_frames=3",
    "--config.data.walkers.max_frames=5",
)
"""An epoch is four steps of four clips."""

AGAIN = 75  # written out, for what a scheduler is configured with must not change with the code


@dataclass
class Death:
    """How a life is to end: by ``how`` ("kill", "term", or "" for its own end), at a moment: ``start``: ``after``
    seconds after it began; ``step``: ``after`` seconds after it logged its ``steps``-th step; ``save``: ``after``
    seconds after the first save that began once it had logged so many steps.
    """

    how: str
    moment: str = "step"
    steps: int = 1
    after: float = 0.0


@dataclass
class Life:
    """What was seen of one start of the command, until its processes had ended."""

    seconds: float
    status: int
    lines: list[tuple[float, str]] = field(default_factory=list)
    """Output of the first process: seconds since it was started, and the line."""
    died: bool = False
    """Whether the planned death came before the run was over."""

    @property
    def text(self) -> str:
        return "\n".join(line for _, line in self.lines)

    @property
    def steps(self) -> list[tuple[float, int]]:
        """When it logged which step."""
        reported = ((t, re.match(r"step (\d+)/\d+ ", line)) for t, line in self.lines)
        return [(t, int(match[1])) for t, match in reported if match]


class Job:
    """A run in ``workdir`` with ``arguments`` added to ``TINY``, of one process or of several.

    ``cache`` keeps what JAX compiled, so that a restart is quick. ``limit``: seconds that a life may last.
    """

    def __init__(
        self, workdir: Path, cache: Path, arguments: tuple[str, ...] = (), processes: int = 1, limit: float = 3600
    ):
        self.workdir, self._arguments, self._processes, self._limit = workdir, arguments, processes, limit
        self._environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            "PYTHONUNBUFFERED": "1",
        }

    def _start(self) -> list[subprocess.Popen]:
        command = [sys.executable, "-m", "rgcn_jax.main", *TINY, f"--workdir={self.workdir}", *self._arguments]
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            port = probe.getsockname()[1]
        started = []
        for index in range(self._processes):
            environment = dict(self._environment)
            if self._processes > 1:
                environment |= {
                    "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
                    "JAX_NUM_PROCESSES": str(self._processes),
                    "JAX_PROCESS_ID": str(index),
                }
            output = subprocess.PIPE if index == 0 else subprocess.DEVNULL
            started.append(
                subprocess.Popen(
                    command,
                    cwd=REPOSITORY,
                    env=environment,
                    stdout=output,
                    stderr=subprocess.STDOUT if index == 0 else output,
                    text=True,
                )
            )
        return started

    def live(self, death: Death, one_of: random.Random | None = None) -> Life:
        """Starts the command and lets it die or end. A SIGTERM goes to all processes, or, with ``one_of``, to one that
        it chooses (once they take steps); a SIGKILL to all.
        """
        began = time.monotonic()
        processes = self._start()
        life = Life(0.0, 0)

        def read() -> None:
            for line in processes[0].stdout or ():
                life.lines.append((time.monotonic() - began, line.rstrip("\n")))

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        if death.how and self._wait_for(death, life, processes, began):
            number = signal.SIGKILL if death.how == "kill" else signal.SIGTERM
            # Before they have met, one that leaves is waited for (parallel.START_SECONDS): a launcher ends the others.
            alone = one_of is not None and death.how == "term" and death.moment != "start"
            chosen = [one_of.choice(processes)] if one_of and alone else processes
            for process in chosen:
                process.send_signal(number)
            life.died = True
        for process in processes:
            try:
                process.wait(self._limit)
            except subprocess.TimeoutExpired:
                for other in processes:
                    other.kill()
                raise AssertionError(f"did not end within {self._limit} s:\n{life.text[-2000:]}") from None
        reader.join(10)
        life.seconds, life.status = time.monotonic() - began, processes[0].returncode
        return life

    def _wait_for(self, death: Death, life: Life, processes: list[subprocess.Popen], began: float) -> bool:
        """Returns at the moment of the death; False if the run was over before."""
        seen: float | None = began if death.moment == "start" else None
        while all(process.poll() is None for process in processes):
            if seen is None and len(life.steps) >= death.steps and (death.moment == "step" or self.saving()):
                seen = time.monotonic()
            if seen is not None and time.monotonic() >= seen + death.after:
                return True
            time.sleep(0.001)
        return False

    def saving(self) -> bool:
        """Whether a save is under way, by the folder that Orbax renames when it is complete."""
        return any(
            ".orbax-checkpoint-tmp" in entry.name
            for kind in ("latest", "best")
            for entry in (self.workdir / "checkpoints" / kind).glob("*")
        )

    def saved(self) -> int:
        """The newest complete checkpoint's step; 0 without one."""
        return max(
            (int(p.name) for p in (self.workdir / "checkpoints" / "latest").glob("*") if p.name.isdecimal()), default=0
        )

    def records(self) -> list[dict]:
        """``metrics.jsonl`` but for what depends on the clock."""
        lines = (self.workdir / "metrics.jsonl").read_text().splitlines()
        clock = ("frames_per_second", "seconds_left")
        return [{k: v for k, v in json.loads(line).items() if k not in clock} for line in lines]

    def results(self) -> dict:
        """``results.json`` but for the seconds."""
        results = json.loads((self.workdir / "results.json").read_text())
        return {k: v for k, v in results.items() if k != "seconds"}


def arrays(workdir: Path, kind: str = "latest") -> dict:
    """All that the newest checkpoint of a kind holds, read by Orbax alone: name -> array."""
    import jax
    import numpy as np
    import orbax.checkpoint as ocp

    from rgcn_jax.runtime.orbax_logging import suppress_orbax_logging

    steps = [int(p.name) for p in (workdir / "checkpoints" / kind).iterdir() if p.name.isdecimal()]
    folder = workdir / "checkpoints" / kind / str(max(steps)) / "state"
    suppress_orbax_logging()
    reader = ocp.PyTreeCheckpointer()
    metadata = reader.metadata(folder).item_metadata
    assert metadata is not None, f"{folder} has no metadata"
    stored = metadata.tree
    # On the host, for the devices that wrote it may have been other processes'.
    on_host = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), stored)
    tree = reader.restore(folder, restore_args=on_host)
    leaves = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}
    return leaves | {"folder": max(steps)}
