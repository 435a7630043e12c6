"""Kills a run again and again, and compares what comes out with a run that was left alone.

    python -m tests.faults.driver --kills=30 --terms=10 [--processes=2] [--seed=0] [--steps=N] [--config.x=value ...]

The real command line, on walkers small enough for a CPU. Each life of the run ends by SIGKILL or SIGTERM at a random
moment (while it starts, between two steps, or within a save), and the same command is given again, until the run is
done. Then parameters, statistics, optimiser state, the loss curve and the results must equal the other run's bit for
bit, and no step may have been lost but those since the last save.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from tests.faults.job import AGAIN, Death, Job, Life, arrays

SAVE_EVERY = 5  # steps


def plan(kills: int, terms: int, steps: int, rng: random.Random) -> list[Death]:
    """The deaths in random order: a third of the kills within saves, one in ten of all while the process starts, the
    others after a random number of steps. Together these are fewer than the run has, so that it lives as long as they
    do, on a machine that takes many steps before a signal comes through as well.
    """
    hows = ["kill"] * kills + ["term"] * terms
    rng.shuffle(hows)
    most = max(1, steps // (len(hows) + 1))
    deaths = []
    for how in hows:
        moment = rng.choices(["start", "step", "save"], [1, 6, 3] if how == "kill" else [1, 9, 0])[0]
        after = rng.uniform(0, {"start": 4, "step": 0.02, "save": 0.1}[moment])
        deaths.append(Death(how, moment, rng.randint(1, most), after))
    return deaths


def check_life(life: Life, death: Death, saved_before: int, saved: int) -> None:
    """What must hold of a life that was ended: its status, and what it resumed from."""
    if saved_before:
        assert f"resuming after step {saved_before} " in life.text or death.moment == "start", life.text
    if not life.died:
        return
    if death.how == "kill":
        assert life.status == -9, life.text
        return
    if death.moment == "start" and life.status in (-15, 143) and not life.steps:
        return  # Python had not come to our first line, or the command not to its first step
    assert life.status == AGAIN, f"status {life.status}\n{life.text}"
    assert "Traceback" not in life.text
    if "checkpoint saved at step" in life.text:  # it had begun its steps
        reported = life.steps[-1][1] if life.steps else 0
        assert saved >= reported, f"logged step {reported}, saved {saved}\n{life.text}"


def compare(job: Job, reference: Job, steps: int) -> None:
    """Everything that two runs leave, number for number."""
    records, expected = job.records(), reference.records()
    assert [r["step"] for r in records if "loss" in r] == list(range(1, steps + 1))
    assert records == expected
    assert job.results() == reference.results()
    for kind in ("latest", "best"):
        found, wanted = arrays(job.workdir, kind), arrays(reference.workdir, kind)
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            np.testing.assert_array_equal(found[name], value, err_msg=f"{kind} {name}")


def goodput(lives: list[Life], alone: Life, steps: int) -> str:
    """Productive time (the steps once, at the pace of the run that was left alone, with its saves and evaluations) over
    the time of all lives, and where the rest went.
    """
    times = alone.steps
    productive = times[-1][0] - times[0][0]
    gap = statistics.median(b - a for (a, _), (b, _) in pairwise(times))
    total = sum(life.seconds for life in lives)
    start = sum(life.steps[0][0] if life.steps else life.seconds for life in lives)
    reported = [step for life in lives for _, step in life.steps]
    again = len(reported) - len(set(reported))
    waits = [b - a - gap for life in lives for (a, _), (b, _) in pairwise(life.steps)]
    between = sum(wait for wait in waits if wait > 0)
    stepping = sum(life.steps[-1][0] - life.steps[0][0] for life in lives if life.steps)
    ends = total - start - stepping
    return (
        f"goodput {100 * productive / total:.1f} %: {productive:.1f} of {total:.1f} s. Of all the time: {start:.1f} s "
        f"for {len(lives)} starts (imports, restoring, first step); {stepping:.1f} s for steps, of these {between:.1f} "
        f"s for saves, evaluations and waits, and {again * gap:.1f} s for {again} of {len(reported)} steps taken "
        f"again; {ends:.1f} s from the last step logged to the end of a process"
    )


def drive(
    folder: Path,
    kills: int,
    terms: int,
    processes: int = 1,
    seed: int = 0,
    steps: int = 0,
    arguments: tuple[str, ...] = (),
    say=print,
    limit: float = 3600,
) -> list[Life]:
    """The whole of it, in a folder; returns the lives of the run that was killed. Raises ``AssertionError``."""
    rng = random.Random(seed)
    steps = steps or 40 + 25 * (kills + terms)
    settings = (
        f"--config.num_steps={steps}",
        f"--config.checkpoint_every_steps={SAVE_EVERY}",
        "--config.eval_every_epochs=10",
        *arguments,
    )
    reference = Job(folder / "alone", folder / "cache", settings, processes, limit)
    alone = reference.live(Death(""))
    assert alone.status == 0, alone.text
    say(f"left alone: {steps} steps, {alone.seconds:.1f} s")
    job, lives, survived = Job(folder / "killed", folder / "cache", settings, processes, limit), [], 0
    for number, death in enumerate(plan(kills, terms, steps, rng), start=1):
        before = job.saved()
        life = job.live(death, rng if number % 2 else None)
        lives.append(life)
        after = job.saved()
        assert after >= before, "a finished checkpoint is missing"
        check_life(life, death, before, after)
        survived += life.died
        last = life.steps[-1][1] if life.steps else before
        end = "" if life.died else "; was over before"
        say(
            f"{number}: {death.how} ({death.moment}): began after step {before}, logged {last}, saved {after}, status "
            f"{life.status}{end}"
        )
        if not life.died:
            assert life.status == 0, life.text
            break
    if lives[-1].status != 0:
        lives.append(job.live(Death("")))
        assert lives[-1].status == 0, lives[-1].text
    compare(job, reference, steps)
    say(f"parameters, statistics, optimiser state, {steps} losses and results equal bit for bit")
    say(f"survived {survived} of {kills + terms} ({kills} SIGKILL, {terms} SIGTERM)")
    say(goodput(lives, alone, steps))
    return lives


def main() -> int:
    """Parses the command line; status 1 where something is lost."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0], allow_abbrev=False)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--terms", type=int, default=10)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=0, help="of the run; default: 25 a death, and 40")
    known, arguments = parser.parse_known_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rgcn-jax-faults-") as folder:
        drive(
            Path(folder),
            known.kills,
            known.terms,
            known.processes,
            known.seed,
            known.steps,
            tuple(arguments),
            lambda text: print(text, flush=True),
        )
    print(f"took {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
