"""The command ``rgcn-jax gallery add``: embed tracklets and enrol them. Resumable."""

import math
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from tqdm import tqdm

from rgcn_jax.command import Parser, last_line, on_interrupt
from rgcn_jax.errors import InputError
from rgcn_jax.gallery.crops import is_milvus
from rgcn_jax.gallery.flags import add_gallery_flag, entries_text, open_gallery, time_argument, where_is
from rgcn_jax.gallery.gallery import Gallery
from rgcn_jax.gallery.inputs import Inputs, of_data, of_features
from rgcn_jax.gallery.leases import share
from rgcn_jax.model_command import add_data_flags, add_model_flags, data_overrides, open_embedder
from rgcn_jax.pose_detection.detector import BACK_ENDS


@on_interrupt("what was added is kept; rerun the same command to resume.")
def main(arguments: Sequence[str], prog: str) -> None:
    """Add the tracklets that are not in the gallery yet.

    Raises:
      InputError: an argument is invalid, the model or the data cannot be read, or the gallery belongs to another model.
    """
    known, overrides = parse(arguments, prog)
    import jax  # after argument parsing: the import takes seconds

    crops = None
    if known.video:
        from rgcn_jax.gallery import video  # imports slow libraries

        crops = video.VideoCrops(known)
    embedder = open_embedder(known, [*(crops.overrides if crops else data_overrides(known)), *overrides])
    if jax.process_count() > 1:
        raise InputError("gallery add runs in one process: embed with rgcn-jax embed and add the features file.")
    gallery = open_gallery(known, embedder)
    if crops:
        crops.make()
    inputs = (
        of_features(known, embedder) if known.features else of_data(embedder, known.source or "", known.camera or 0)
    )
    if crops:
        inputs = replace(inputs, entries=crops.described(inputs.entries))
    done = set() if known.shared else {i for i, there in enumerate(gallery.contains(inputs.entries)) if there}
    if done:
        print(f"{len(done):,} of {len(inputs.entries):,} tracklets are in the gallery already", flush=True)
    total = None if known.shared else len(inputs.entries)
    with tqdm(desc="add", total=total, initial=len(done), unit="tracklet", disable=None) as bar:
        add = partial(_add, gallery, inputs, known.save_every, bar)
        if known.shared:
            share(gallery, inputs.entries, known.save_every, add)
        else:
            add([i for i in range(len(inputs.entries)) if i not in done])
    if crops:
        crops.finish()
    search = ("gallery", "search", *where_is(known), f"--model={known.model}", "--entry=1", "--html=found.html")
    print(last_line(f"gallery: {known.gallery}, {entries_text(gallery.count())}", "rgcn-jax", *search))


def _add(gallery: Gallery, inputs: Inputs, save_every: int, bar: tqdm, todo: Sequence[int]) -> None:
    """Embed and add tracklets in batches of ``save_every``."""
    features, entries = [], []
    for number, (feature, seen) in enumerate(inputs.embed(todo), 1):
        features.append(feature)
        entries.append(replace(inputs.entries[feature.index], **seen))
        bar.update()
        if len(features) == save_every or number == len(todo):
            gallery.add(features, entries)
            if bar.disable:
                print(f"added {number:,} of {len(todo):,} tracklets", flush=True)
            features, entries = [], []


def parse(arguments: Sequence[str], prog: str) -> tuple[Namespace, list[str]]:
    """Parse the flags; return them and the config overrides. Raises InputError if flags conflict."""
    parser = Parser(
        prog,
        "Add tracklets to a gallery, which is made where there is none: of a features file (--features), of a data set "
        "(--dataset, --root, --keypoints), or of a video and its tracks (--video, --tracks, --camera). What is there "
        "already is skipped: rerun the same command to resume.",
        epilog="Fields of the run's config can be changed, such as --config.evaluation.distance=standardized; they "
        "must be the same in every command on the gallery.",
        config_fields=True,
    )
    add_input_flags(parser)
    parser.path("--video", "PATH", "video file, or folder of its frames")
    parser.path("--tracks", "FILE", "its tracks in MOTChallenge's format")
    parser.flag("--boxes", "their form, as of rgcn-jax tracks", choices=("size", "corners"))
    parser.whole("--camera", "number of the video's camera, or of tracklets whose camera is unknown", most=999_999_999)
    parser.flag("--start", "when the video starts, 2026-11-30T09:00", type=time_argument, metavar="TIME")
    parser.flag("--fps", "frames per second (default: the video's)", type=_rate, default=0.0, metavar="X")
    parser.flag("--detector", "detect the keypoints of the video's crops", choices=tuple(BACK_ENDS))
    parser.path("--detector-weights", "FILE", "as --model of rgcn-jax detect")
    parser.switch("--tracks-are-persons", "the track ids of the video name persons, as in ground truth")
    parser.flag("--source", "name of the source (default: the folder, file or crops)", metavar="NAME")
    parser.whole("--save-every", "tracklets that are added together", default=200)
    parser.switch("--shared", "share the tracklets with other workers that run the same command")
    known, overrides = parser.parse_known_args(arguments)
    if known.video and (known.features or known.dataset or known.root):
        raise InputError("expected one of --video, --features, and --dataset with --root.")
    if known.video and not (known.tracks and known.camera):
        raise InputError("--video needs --tracks=FILE and --camera=N.")
    if known.shared and (known.video or is_milvus(known.gallery)):
        raise InputError("--shared is for data sets and features files, and a gallery in a folder.")
    of_video = ("tracks", "boxes", "start", "fps", "detector")
    if not known.video and (wrong := [name for name in of_video if getattr(known, name)]):
        raise InputError(f"--{wrong[0]} is for --video=PATH only.")
    if bool(known.detector) != bool(known.detector_weights) or (known.detector and known.keypoints):
        raise InputError("expected --detector and --detector-weights together, and no --keypoints beside them.")
    check_features_flags(known)
    return known, overrides


def add_input_flags(parser: Parser) -> None:
    """Add the flags of the gallery, the model, the data set and the features file."""
    add_gallery_flag(parser)
    add_model_flags(parser)
    add_data_flags(parser)
    parser.path("--features", "FILE.npz", "a features file of this model")
    parser.path("--labels", "FILE.csv", "its persons, cameras and roles")


def check_features_flags(known: Namespace) -> None:
    """Raise InputError if flags conflict."""
    if known.features and (known.dataset or known.keypoints):
        raise InputError("expected either --features=FILE.npz or --dataset and --keypoints.")
    if known.labels and not known.features:
        raise InputError("--labels is for --features=FILE.npz only: a data set has its own.")


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0.1 <= rate <= 1000:
        raise ArgumentTypeError(f"expected frames per second from 0.1 to 1000, found {text[:100]!r}")
    return rate
