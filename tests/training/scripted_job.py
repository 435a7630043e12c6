"""A training loop over a model that only counts, with losses and scores from a script."""

import json
import math
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from rgcn_jax import parallel
from rgcn_jax.config import BatchConfig, Config
from rgcn_jax.data.clips.augment import Augmentation
from rgcn_jax.data.clips.reader import Data
from rgcn_jax.data.clips.sampling import IdentitySampler
from rgcn_jax.evaluation.results import Evaluation
from rgcn_jax.evaluation.scorer import Scorer
from rgcn_jax.runtime.preemption import Stopping
from rgcn_jax.runtime.profiler import Profile
from rgcn_jax.runtime.time_accounting import Seconds
from rgcn_jax.training.checkpoint import Checkpoints
from rgcn_jax.training.loop import Loop
from rgcn_jax.training.nonfinite import FiniteCheck
from rgcn_jax.training.resume import resume
from rgcn_jax.training.run import Run
from rgcn_jax.training.state import TrainState
from rgcn_jax.training.writer import Writer
from rgcn_jax.types import Split, Tracklet

TRACKLETS = [Tracklet((f"{p}/{c}/0.jpg", f"{p}/{c}/1.jpg"), p, c) for p in (1, 2, 3, 4) for c in (1, 2)]


class Scores(Evaluation):
    """An evaluation of one row and one number."""

    mAP: float

    def __init__(self, step, mAP):
        self.__dict__.update(step=step, mAP=mAP)

    @property
    def rows(self):
        return {"appearance": {"mAP": self.mAP, "rank1": 0.0}}

    def description(self):
        return {}


class Scripted(Scorer):
    """Scores by a script: step -> mAP."""

    def __init__(self, reported, scores):
        self.reported, self.scores = reported, scores
        self.interrupt: Callable[[int], object] | None = None

    def evaluate(self, variables, step):
        self.reported.append(f"evaluate {step}")
        if self.interrupt:
            self.interrupt(step)
        return Scores(step, self.scores.get(step, 1.0))


def labels(plans) -> Generator[Any, None, None]:
    """Batches of the labels alone, and the step looks at none of them."""
    return ({"label": plan.label} for plan in plans)


def counting(reported, losses):
    """The step: parameters count the steps; ``losses`` says at which step which loss comes out."""

    def train_step(state, batch):
        reported.append(f"step {int(state.step) + 1}")
        loss = losses.get(int(state.step) + 1, 1.0)
        with jax.transfer_guard("allow"):
            after = state.replace(
                step=state.step + 1, params=state.params + (1 if math.isfinite(loss) else 0), key=state.key
            )
            return after, {"loss": jnp.float32(loss), "lambda": jnp.float32(0.5)}

    return train_step


class Job:
    """One work directory, in which ``run`` may be called again and again."""

    def __init__(self, workdir, total=8, save=4, evaluate=4, losses=(), scores=(), policy="stop"):
        self.workdir, self.reported, self.said = workdir, [], []
        self.stopping, self.seconds = Stopping(), Seconds()
        sampler = IdentitySampler(
            TRACKLETS,
            identities=2,
            clips_per_identity=2,
            frames_per_clip=2,
            max_frame_stride=1,
            augmentation=Augmentation(0.5, 1.125, 0.5, 0.0),
            seed=0,
        )
        self.config = replace(
            Config(),
            eval_every_epochs=evaluate // sampler.steps_per_epoch,
            checkpoint_every_steps=save,
            log_every_steps=1,
            frames_per_clip=2,
            on_nonfinite=policy,
            batch=BatchConfig(identities=2, clips_per_identity=2),
        )
        mesh = parallel.make_mesh(1)
        state = TrainState(
            step=jnp.zeros((), jnp.int32),
            params=jnp.zeros(()),
            batch_stats={},
            opt_state=(),
            key=jax.random.key(0),
        )
        self.scorer = Scripted(self.reported, dict(scores))
        self.plan = sampler.plan
        self.run_ = Run(
            data=Data(Split("counted", Path(), TRACKLETS, TRACKLETS, TRACKLETS), labels, (1, 1)),
            sampler=sampler,
            mesh=mesh,
            train_step=counting(self.reported, dict(losses)),
            compile_step=lambda state: None,
            scorer=self.scorer,
            state=parallel.replicate(state, mesh),
            total_steps=total,
            init_from=None,
        )

    def run(self, keep=lambda checkpoints: None, profile=None):
        self.reported.clear()
        with Checkpoints(self.workdir) as checkpoints:
            keep(checkpoints)
            state, self.progress = resume(checkpoints, self.run_.state, changed=lambda _: False, say=self.said.append)
            with (
                Writer(self.workdir, self.run_.total_steps, self.progress.step) as writer,
                Profile(profile, self.workdir) as recording,
            ):
                check = FiniteCheck(self.config.on_nonfinite, self.workdir, self.plan, self.progress)
                helpers = checkpoints, writer, self.progress, check, self.stopping, self.seconds, recording
                return Loop(self.config, self.run_, *helpers).steps(state)

    def records(self):
        lines = (self.workdir / "metrics.jsonl").read_text().splitlines()
        return [(r["step"], r.get("loss", "evaluation")) for r in map(json.loads, lines)]

    def kept(self, kind="latest"):
        folder = self.workdir / "checkpoints" / kind
        return sorted(int(p.name) for p in folder.iterdir()) if folder.exists() else []
