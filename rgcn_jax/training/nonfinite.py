"""Detects NaN or Inf in the loss or gradient norm and reports the offending batch before a checkpoint is written."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rgcn_jax.data.clips.sampling import BatchPlan
from rgcn_jax.errors import InputError
from rgcn_jax.runtime.files import atomic_file
from rgcn_jax.training.state import Progress

MAX_CONSECUTIVE = 10
"""Consecutive skipped steps after which "skip" stops too, since the cause is the model and not a batch."""


@dataclass(frozen=True)
class FiniteCheck:
    """Checks the metrics of every step for NaN and Inf.

    Args:
      policy: ``config.on_nonfinite``: "stop" training, or "skip" the step (parameters, statistics and optimiser are
        unchanged) and count it.
      workdir: such a step is reported in ``nonfinite/step-N.json``: its metrics, and person, camera, first frame and
        frame positions of each clip.
      plan: returns the plan of a step, counted from 0 (``IdentitySampler.plan``).
      progress: counts skipped steps.
      writes: whether this process writes the report: the first of several.
    """

    policy: str
    workdir: Path
    plan: Callable[[int], BatchPlan]
    progress: Progress
    writes: bool = True

    def check(self, step: int, metrics: Mapping[str, float], kept: int | None) -> None:
        """Check the metrics of a step, counted from 1, and count it if it was skipped; ``kept``: step of the last
        checkpoint.

        Raises:
          InputError: a value is not finite and the policy is "stop", or too many consecutive steps were skipped.
        """
        bad = [f"{name} is {value}" for name, value in metrics.items() if not math.isfinite(value)]
        if not bad:
            self.progress.skipped_in_a_row = 0
            return
        problem = f"at step {step} {', '.join(bad)}; {self._write(step, metrics)}"
        last = "no checkpoint was saved" if kept is None else f"the last checkpoint is of step {kept}"
        if self.policy == "stop":
            raise InputError(
                f"training diverged: {problem}. Lower optimizer.learning_rate and train in another --workdir, or skip "
                f"such steps by --config.on_nonfinite=skip ({last})."
            )
        self.progress.skipped_steps += 1
        self.progress.skipped_in_a_row += 1
        if self.progress.skipped_in_a_row >= MAX_CONSECUTIVE:
            raise InputError(
                f"training diverged: {MAX_CONSECUTIVE} consecutive steps were skipped; {problem}. Lower "
                f"optimizer.learning_rate and train in another --workdir ({last})."
            )

    def _write(self, step: int, metrics: Mapping[str, float]) -> str:
        """Write the report of a batch and return a clause that names it; a failed write does not end the run."""
        plan = self.plan(step - 1)
        clips = [
            {
                "person_id": tracklet.person_id,
                "camera_id": tracklet.camera_id,
                "first_frame": tracklet.frames[0],
                "frames": frames[mask].tolist(),
                "mirrored": bool(flip),
            }
            for tracklet, frames, mask, flip in zip(
                plan.tracklets, plan.frames, plan.frame_mask, plan.flip, strict=True
            )
        ]
        shown = {name: value if math.isfinite(value) else str(value) for name, value in metrics.items()}
        file = self.workdir / "nonfinite" / f"step-{step}.json"
        listed = f"its batch is listed in {file}"
        if not self.writes:
            return listed
        record = {"step": step, "policy": self.policy, **shown, "clips": clips}
        try:
            file.parent.mkdir(exist_ok=True)
            with atomic_file(file, "w") as opened:
                opened.write(json.dumps(record, indent=1) + "\n")
        except OSError as error:
            listed = f"its batch cannot be listed in {file} ({error.strerror})"
            print(f"step {step}: {listed}", flush=True)
        return listed
