r"""The paper's comparisons (tables IV to VII, figures 5 to 8) on walkers: every cell over several seeds, as tables.

    python scripts/walkers_table.py --out=runs/walkers-table --seeds=3 --jobs=2

For each seed (of people, walks, weights and batches) one appearance model, AP, is trained alone by
configs/walkers_paper.py. Then every cell is a run of ``rgcn_jax.main`` that trains a pose branch beside the features of
this model: they are fixed (``model.appearance="precomputed"``), so that the cells of a seed differ in their pose branch
only, and a cell takes seconds instead of minutes. The set "joint" trains both branches together, as the paper does, to
tell what this changes.

A cell that has been run is not run again: the command can be stopped and given again. Tables are printed in Markdown,
as they stand in docs/walkers-results.md, and written to OUT/tables.md.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

POSES = ("RGCN", "LGCN", "GCNRNN", "GCNLSTM", "STGCN", "EvolveGCN-O", "EvolveGCN-H")
READOUTS = ("mean", "TAM", "NAM", "DAM")

SETTINGS = ("--config.eval_every_epochs=0", "--config.log_every_steps=50")

Cell = tuple[str, tuple[str, ...]]


def cells(table: str) -> list[Cell]:
    """Name and overrides of every cell of a table. The usual values, one graph layer, ten frames and the adaptive
    weight, are not repeated: they are the rows RGCN DAM and LGCN DAM of "models".
    """

    def of(field: str, values: tuple, poses: tuple[str, ...] = ("RGCN", "LGCN")) -> list[Cell]:
        return [
            (f"{pose} {value}", (f"--config.model.pose={pose}", f"--config.{field}={value}"))
            for pose in poses
            for value in values
        ]

    if table == "models":
        return of("model.readout", READOUTS, POSES)
    if table == "inputs":
        places = ("crop", "centred", *(f"centred+{added}" for added in ("confidence", "velocity", "bones")))
        combined = ("centred+confidence+bones",)
        plain = of("model.pose_input", places + combined, ("RGCN",))
        plain = [(name, (*overrides, "--config.model.keypoint_embedding=0")) for name, overrides in plain]
        embedded = [
            (
                f"RGCN {place} embedding {e}",
                (f"--config.model.pose_input={place}", f"--config.model.keypoint_embedding={e}"),
            )
            for place, e in (
                ("centred", 8),
                ("centred+confidence", 8),
                ("centred+confidence+bones", 8),
                ("centred", 16),
            )
        ]
        return plain + embedded
    if table == "layers":
        return of("model.graph_layers", (2, 3, 4))
    if table == "frames":
        return of("frames_per_clip", (4, 6, 8))
    if table == "weight":
        return of("loss.appearance_weight", (0.5, 1.0))
    if table == "width":
        return of("model.pose_features", (256,), ("RGCN", "LGCN", "GCNRNN", "GCNLSTM"))
    if table == "joint":
        return of("model.readout", ("DAM",))
    raise ValueError(table)


TABLES = ("models", "inputs", "layers", "frames", "weight", "width", "joint")


def run(workdir: Path, seed: int, overrides: tuple[str, ...]) -> None:
    """One training run of configs/walkers_paper.py in a process of its own, on one core; none where it is done."""
    if (workdir / "results.json").exists():
        return
    seeds = (f"--config.seed={seed}", f"--config.data.walkers.seed={seed}")
    module = [sys.executable, "-m", "rgcn_jax.main", "--config=configs/walkers_paper.py", f"--workdir={workdir}"]
    workdir.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
        "OMP_NUM_THREADS": "1",
        "JAX_COMPILATION_CACHE_DIR": str(workdir.parents[1] / "compiled"),
    }
    start = time.perf_counter()
    with (workdir / "log.txt").open("w", encoding="utf-8") as log:
        done = subprocess.run([*module, *seeds, *overrides], stdout=log, stderr=log, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"the run {workdir} failed: see {workdir / 'log.txt'}")
    (workdir / "seconds").write_text(f"{time.perf_counter() - start:.1f}\n", encoding="utf-8")


def appearance(out: Path, seed: int) -> Path:
    """The appearance-only model of a seed, and its features of every tracklet."""
    workdir, features = out / f"seed{seed}" / "appearance", out / f"seed{seed}" / "features.npz"
    run(workdir, seed, ("--config.model.pose=none", "--config.eval_every_epochs=0"))
    if not features.exists():
        part = features.with_name("part.npz")
        command = [
            sys.executable,
            "-m",
            "rgcn_jax.evaluate",
            f"--workdir={workdir}",
            f"--features={part}",
            "--with-train",
        ]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        part.rename(features)
    return features


def folder(out: Path, table: str, cell: str, seed: int) -> Path:
    """Where a cell is kept."""
    return out / f"seed{seed}" / f"{table}-{cell.replace(' ', '_')}"


def task(out: Path, table: str, cell: Cell, seed: int) -> None:
    """Runs one cell with one seed."""
    name, overrides = cell
    features = f"--config.data.features={out / f'seed{seed}' / 'features.npz'}"
    fixed = () if table == "joint" else ("--config.model.appearance=precomputed", features)
    run(folder(out, table, name, seed), seed, (*SETTINGS, *fixed, *overrides))
    print(f"{time.strftime('%H:%M:%S')} {table}, {name}, seed {seed}", file=sys.stderr, flush=True)


def row(title: str, folders: list[Path]) -> str:
    """Mean and standard deviation over the seeds of what the results files say."""
    found = [json.loads((f / "results.json").read_text(encoding="utf-8")) for f in folders]
    parts = []
    for kind in ("pose", "fused"):
        for metric in ("rank1", "mAP"):
            values = [r[kind][metric] for r in found if kind in r]
            parts.append(
                f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else f"{values[0]:.1f}"
            )
    seconds = [float((f / "seconds").read_text(encoding="utf-8")) for f in folders]
    return f"| {title} | {' | '.join(parts)} | {np.mean(seconds):.0f} |"


def markdown(out: Path, tables: list[str], seeds: range) -> str:
    """All tables."""
    text = []
    for table in tables:
        text += [f"### {table}", "", "| | pose Rank-1 | pose mAP | fused Rank-1 | fused mAP | seconds a run |"]
        text.append("|---|---|---|---|---|---|")
        text += [row(name, [folder(out, table, name, seed) for seed in seeds]) for name, _ in cells(table)]
        text.append("")
    alone = [json.loads((out / f"seed{s}" / "appearance" / "results.json").read_text()) for s in seeds]
    ranks = ", ".join(f"{r['appearance']['rank1']:.1f}/{r['appearance']['mAP']:.1f}" for r in alone)
    text.append(f"Appearance alone, by seed (Rank-1/mAP): {ranks}. Chance: {alone[0]['chance_rank1']:.1f}.")
    return "\n".join(text) + "\n"


def main() -> None:
    """Runs what is missing and prints the tables."""
    parser = argparse.ArgumentParser(description="The paper's comparisons on walkers, over several seeds.")
    parser.add_argument("--out", type=Path, default=Path("runs/walkers-table"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one core each")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    arguments = parser.parse_args()
    out, seeds = arguments.out.resolve(), range(arguments.seeds)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(lambda seed: appearance(out, seed), seeds))
        wanted = [(table, cell, seed) for table in arguments.tables for cell in cells(table) for seed in seeds]
        list(pool.map(lambda t: task(out, *t), wanted))
    text = markdown(out, arguments.tables, seeds)
    (out / "tables.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
