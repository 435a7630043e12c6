"""The command ``rgcn-jax embed``, also ``python -m rgcn_jax.embed``: write features of all tracklets of a data set.

The output is a features file (``evaluation/feature_set.py``). Resumable; runs on all devices and processes of a launch.
"""

from argparse import Namespace
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from rgcn_jax.command import Parser, last_line, on_interrupt, run_command
from rgcn_jax.embedding_parts import EmbeddingParts
from rgcn_jax.errors import InputError
from rgcn_jax.model_command import add_data_flags, add_model_flags, data_overrides, open_embedder
from rgcn_jax.types import Tracklet

if TYPE_CHECKING:  # not at run time: they import JAX, which takes seconds
    from rgcn_jax.data.clips.reader import Data
    from rgcn_jax.evaluation.embed import TrackletFeature
    from rgcn_jax.evaluation.protocol import Roles


@on_interrupt("rerun the same command to resume.")
def main(arguments: Sequence[str] | None = None, prog: str = "rgcn-jax embed") -> None:
    """Parse the command line, embed every tracklet once and write the file. Raises ``InputError`` for invalid input."""
    known, overrides = _parse(arguments, prog)
    from rgcn_jax import parallel  # imported after parsing: JAX takes seconds
    from rgcn_jax.evaluation.embed import Cutting, Readers, to_embeddings
    from rgcn_jax.evaluation.feature_set import check_target, of_tracklets, write_features
    from rgcn_jax.evaluation.pose_quality import pose_quality
    from rgcn_jax.runtime.provenance import fingerprint, versions
    from rgcn_jax.training.run import open_process_data

    embedder = open_embedder(known, [*data_overrides(known), *overrides])
    config = embedder.config
    if parallel.is_first():
        check_target(known.out, embedder.hash)
    parallel.check_divides(config.evaluation.clips_per_batch, embedder.mesh, "evaluation.clips_per_batch")
    data = open_process_data(config, required=())
    tracklets, roles = _tracklets(data, known.with_train)
    cutting = Cutting(config.evaluation.clips, config.frames_per_clip, config.evaluation.clips_per_batch)
    plan = {
        "model": embedder.hash,
        "data": fingerprint(data.split),
        "tracklets": len(tracklets),
        "hashes": dict(data.hashes),
        "cutting": vars(cutting),
        "frame_size": config.frame_size,
    }
    parts = EmbeddingParts(known.out, plan) if parallel.is_first() else None
    if parts is not None and parts.discarded:
        print("discarded: features of an interrupted run with another model, data set or settings", flush=True)
    done = parallel.number_of_first(parts.done if parts else 0)
    if done:
        print(f"resuming after {done:,} of {len(tracklets):,} tracklets", flush=True)
    readers = Readers(data.read, data.read_keypoints)
    features = embedder.extractor.tracklets(embedder.variables, readers, tracklets, cutting, done)
    _collect(features, parts, done, len(tracklets), known.save_every)
    if parts is None:
        return
    split = data.split
    header = {
        "model": embedder.hash,
        "step": embedder.step,
        "data_set": f"{split.name} {split.split_description}".strip(),
        "clips": config.evaluation.clips,
        "config": config.to_dict(),
        "versions": versions(),
    }
    embeddings = to_embeddings(tracklets, list(parts.read()))
    if split.look_alikes:
        header["look_alikes"] = [list(group) for group in split.look_alikes]
    quality = None if data.keypoints is None else pose_quality(data.keypoints.of, tracklets)
    write_features(known.out, of_tracklets(tracklets, embeddings, roles, embedder.statistics, header, quality))
    parts.remove()
    enrol = ("gallery", "add", "--gallery=people", f"--model={known.model}", f"--features={known.out}")
    use = ("evaluate", f"--features={known.out}") if roles.query.any() else enrol
    print(last_line(f"features of {len(tracklets):,} tracklets: {known.out}", "rgcn-jax", *use))


def _tracklets(data: "Data", with_train: bool) -> tuple[list[Tracklet], "Roles"]:
    """The distinct tracklets to embed and their roles: test tracklets, then training tracklets.

    The latter are included if ``with_train`` is set or there are no test tracklets.
    """
    from rgcn_jax.evaluation.protocol import Roles, test_tracklets

    tracklets, roles = test_tracklets(data.split)
    tested = set(tracklets)
    train = [t for t in data.split.train if t not in tested] if with_train or not tracklets else []
    if not tracklets and not train:
        raise InputError(f"{data.split.root} has no tracklets.")
    return [*tracklets, *train], Roles(*(np.pad(role, (0, len(train))) for role in roles))


def _collect(
    features: Iterator["TrackletFeature"], parts: EmbeddingParts | None, done: int, total: int, save_every: int
) -> None:
    """Consume the features; the first process also writes part files and prints the progress."""
    waiting: list[TrackletFeature] = []
    with tqdm(total=total, initial=done, desc="embed", unit="tracklet", disable=None if parts else True) as bar:
        for feature in features:
            waiting.append(feature)
            bar.update()
            if len(waiting) == save_every or feature.index == total - 1:
                if parts is not None:
                    parts.add(waiting)
                    if bar.disable:
                        print(f"embedded {parts.done:,} of {total:,} tracklets", flush=True)
                waiting = []


def _parse(arguments: Sequence[str] | None, prog: str) -> tuple[Namespace, list[str]]:
    parser = Parser(
        prog,
        "Embed the tracklets of any data set, including a folder without training set, labels or queries. The features "
        "file can be scored later without the model. Rerun the same command to resume.",
        epilog="Fields of the run's config can be changed, such as --config.evaluation.clips=even.",
        config_fields=True,
    )
    add_model_flags(parser)
    add_data_flags(parser)
    parser.path("--out", "FILE.npz", "the features file to write", required=True)
    parser.switch("--with-train", "embed the training tracklets too")
    parser.whole("--save-every", "tracklets per part file", default=200)
    return parser.parse_known_args(arguments)


if __name__ == "__main__":
    run_command(main, prog="python -m rgcn_jax.embed")
