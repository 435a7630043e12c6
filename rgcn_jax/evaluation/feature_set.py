"""Features files (``.npz``): features of a data set's tracklets with all that is needed to score them.

Arrays of the file, with one row per tracklet: ``appearance`` [N, D_a] and ``pose`` [N, D_p] float32 (no pose columns
without a pose branch), ``person_ids`` and ``camera_ids`` [N] int32 (``UNKNOWN_ID`` and 0 if unknown), ``first_frames``
[N] (path of the first frame, relative to the data set's root), ``num_frames`` [N], ``is_query``, ``is_gallery`` and
``is_junk`` [N]. Optional: ``clothes_ids`` [N] int32 (0 if unknown), ``keypoint_share`` and ``keypoint_confidence`` [N]
float32 (``pose_quality``; NaN if unknown); ``mean_a``, ``std_a`` [D_a], ``mean_p`` and ``std_p`` [D_p], the
training-set statistics; and ``header``, JSON text with the model's hash, config, data set and versions, and, if any,
the groups of person ids with shared outfits (``look_alikes``) and the model's calibrated fusion (``fusion``). A
tracklet without a role belongs to the training set.

Files of other programs, without ``header`` and statistics, can be read as well.
"""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer

from rgcn_jax.errors import MALFORMED, InputError, as_input_error
from rgcn_jax.evaluation.distance import FeatureStatistics
from rgcn_jax.evaluation.pose_quality import PoseQuality
from rgcn_jax.evaluation.protocol import Roles
from rgcn_jax.runtime.files import writing
from rgcn_jax.runtime.npz import read_arrays, write_arrays
from rgcn_jax.runtime.user_files import open_file
from rgcn_jax.types import JUNK_ID, Embeddings, Tracklet

FORMAT, VERSION = "rgcn_jax features", 1
_ARRAYS: Mapping[str, tuple[str, int, Any]] = {
    "appearance": ("f", 2, None),
    "person_ids": ("iu", 1, None),
    "camera_ids": ("iu", 1, None),
    "first_frames": ("U", 1, None),
    "is_query": ("b", 1, None),
    "is_gallery": ("b", 1, None),
    "pose": ("f", 2, np.float32(0)),
    "num_frames": ("iu", 1, np.int32(0)),
    "is_junk": ("b", 1, np.False_),
    "clothes_ids": ("iu", 1, np.int32(0)),
    "keypoint_share": ("f", 1, np.float32(np.nan)),
    "keypoint_confidence": ("f", 1, np.float32(np.nan)),
}
"""Kinds of dtype, dimensions (the first is N), and the value if the array is missing; None: it is required."""


@dataclass(frozen=True)
class FeatureSet:
    """Features of N tracklets with their ids and roles; ``header`` as in the file, empty if unknown."""

    embeddings: Embeddings
    roles: Roles
    first_frames: Sequence[str]
    num_frames: Integer[np.ndarray, "n"]
    statistics: FeatureStatistics | None = None
    header: Mapping[str, Any] = field(default_factory=dict)
    quality: PoseQuality | None = None
    """Quality of the keypoints; None if unknown."""

    @property
    def model(self) -> str:
        """Hash of the model's weights; empty if the file does not state it."""
        return str(self.header.get("model", ""))

    @property
    def tracklets(self) -> list[Tracklet]:
        """The tracklets, with their first frame only."""
        ids = zip(*(column.tolist() for column in self.embeddings[2:]), strict=True)
        return [Tracklet((name,), *labels) for name, labels in zip(self.first_frames, ids, strict=True)]

    def take(self, rows: np.ndarray) -> "FeatureSet":
        """Select tracklets by a mask or by indices."""
        return FeatureSet(
            Embeddings(*(column[rows] for column in self.embeddings)),
            Roles(*(role[rows] for role in self.roles)),
            np.asarray(self.first_frames)[rows].tolist(),
            self.num_frames[rows],
            self.statistics,
            self.header,
            self.quality and PoseQuality(*(column[rows] for column in self.quality)),
        )


def of_tracklets(
    tracklets: Sequence[Tracklet],
    embeddings: Embeddings,
    roles: Roles,
    statistics: FeatureStatistics | None,
    header: Mapping[str, Any],
    quality: PoseQuality | None = None,
) -> FeatureSet:
    """Combine tracklets, their features and roles to a ``FeatureSet``."""
    return FeatureSet(
        embeddings,
        roles,
        [t.frames[0] for t in tracklets],
        np.array([len(t.frames) for t in tracklets], np.int32),
        statistics,
        {"format": FORMAT, "version": VERSION, **header},
        quality,
    )


def join(first: FeatureSet, second: FeatureSet) -> FeatureSet:
    """Concatenate the tracklets of two sets of the same model; the header is that of the first."""
    qualities = [
        s.quality or PoseQuality(*np.full((2, len(s.first_frames)), np.nan, np.float32)) for s in (first, second)
    ]
    return FeatureSet(
        Embeddings(*(np.concatenate(pair) for pair in zip(first.embeddings, second.embeddings, strict=True))),
        Roles(*(np.concatenate(pair) for pair in zip(first.roles, second.roles, strict=True))),
        [*first.first_frames, *second.first_frames],
        np.concatenate([first.num_frames, second.num_frames]),
        first.statistics,
        first.header,
        PoseQuality(*(np.concatenate(pair) for pair in zip(*qualities, strict=True))),
    )


def write_features(path: Path, features: FeatureSet) -> None:
    """Write the features file atomically; call ``check_target`` first.

    Raises:
      InputError: it cannot be written.
    """
    arrays = {
        **features.embeddings._asdict(),
        "first_frames": np.array(features.first_frames),
        "num_frames": features.num_frames,
        **{f"is_{name}": role for name, role in features.roles._asdict().items()},
    }
    if features.quality:
        arrays |= {f"keypoint_{name}": x for name, x in features.quality._asdict().items()}
    if features.statistics:
        arrays |= features.statistics._asdict()
    with writing(path):
        write_arrays(path, {**arrays, "header": np.array(json.dumps(dict(features.header)))})


def check_target(path: Path, model: str) -> None:
    """Check early that a features file of this model can be written to ``path``.

    Raises:
      InputError: the name does not end in .npz, the folder does not exist or cannot be written, or the file exists and
        is not a features file of this model, which is never overwritten.
    """
    if path.suffix != ".npz":
        raise InputError(f"{path}: expected the name of a features file to end in .npz.")
    if not path.parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist: create it first.")
    there = path.exists()
    if there and (not path.is_file() or _header(path).get("model") != model):
        raise InputError(
            f"{path} exists and is not a features file of this model, so it is not overwritten: choose another name, "
            "or remove it first."
        )
    with as_input_error(f"{path} cannot be written", "choose another file"):
        path.open("ab").close()
    if not there:
        path.unlink()


def _header(path: Path) -> dict[str, Any]:
    """The header of a features file; empty if it has none, or is not a features file."""
    try:
        arrays, _ = read_arrays(path, ("header",))
        header = json.loads(str(arrays["header"]))
    except (OSError, ValueError, KeyError, RecursionError):
        return {}
    return header if isinstance(header, dict) and header.get("format") == FORMAT else {}


def read_features(path: Path) -> FeatureSet:
    """Read a features file.

    Raises:
      InputError: it cannot be read, an array is missing or has a wrong type or length, or its version is newer.
    """
    with as_input_error(f"the features {path} cannot be read", kinds=MALFORMED):
        found, there = read_arrays(path)
    if missing := [name for name, (*_, value) in _ARRAYS.items() if value is None and name not in found]:
        raise InputError(
            f"{path} is not a features file: expected the arrays {', '.join(missing)} too, found "
            f"{', '.join(there) or 'none'}."
        )
    header = _header(path)
    if header.get("version", VERSION) != VERSION:
        raise InputError(
            f"{path} is a features file of version {header['version']}, but this program reads version {VERSION}: "
            "update rgcn_jax."
        )
    count = found["first_frames"].size
    for name, (kind, dimensions, value) in _ARRAYS.items():
        array = found.setdefault(name, np.full((count, 0)[:dimensions], value))
        if array.dtype.kind not in kind or array.ndim != dimensions or array.shape[0] != count:
            raise InputError(
                f"{path}: {name} is {array.dtype} {list(array.shape)}, expected {dimensions} dimensions, the first of "
                f"size {count}."
            )
    for name in ("person_ids", "camera_ids", "clothes_ids", "num_frames"):
        if count and not -(2**31) <= int(found[name].min()) <= int(found[name].max()) < 2**31:
            raise InputError(f"{path}: {name} contains {int(found[name].max())}, expected 32-bit integers.")
    a, p = (found[name].astype(np.float32, copy=False) for name in ("appearance", "pose"))
    ids = (found[name].astype(np.int32) for name in ("person_ids", "camera_ids", "clothes_ids"))
    quality = PoseQuality(*(found[name].astype(np.float32) for name in ("keypoint_share", "keypoint_confidence")))
    return FeatureSet(
        Embeddings(a, p, *ids),
        Roles(found["is_query"], found["is_gallery"], found["is_junk"]),
        found["first_frames"].tolist(),
        found["num_frames"].astype(np.int32),
        _statistics(path, found, a.shape[1], p.shape[1]),
        header,
        None if np.isnan(quality.share).all() else quality,
    )


def _statistics(path: Path, found: Mapping[str, np.ndarray], d_a: int, d_p: int) -> FeatureStatistics | None:
    """The training-set statistics; None if the file has none."""
    names = FeatureStatistics._fields
    if not any(name in found for name in names):
        return None
    for name, size in zip(names, (d_a, d_a, d_p, d_p), strict=True):
        shape = found[name].shape if name in found else None
        if shape != (size,) or found[name].dtype.kind not in "fiu":
            raise InputError(f"{path}: {name} has shape {shape}, expected ({size},).")
    return FeatureStatistics(*(found[name].astype(np.float32) for name in names))


def with_labels(features: FeatureSet, path: Path) -> FeatureSet:
    """Replace persons, cameras and roles by those of a CSV file.

    Its header is ``tracklet,person,camera,role``. ``tracklet``: path of the first frame or of its folder, relative to
    the data set's root. ``person``: a positive whole number (0: distractor, -1: junk). ``camera``: a positive whole
    number. ``role``: ``query``, ``gallery`` or ``both``. Tracklets without a line keep their values.

    Raises:
      InputError: the file cannot be read, a line is invalid, or a tracklet is unknown or occurs twice.
    """
    place: dict[str, list[int]] = {}
    for row, name in enumerate(features.first_frames):
        for key in {name, name.rpartition("/")[0]}:
            place.setdefault(key, []).append(row)
    persons, cameras = (column.copy() for column in features.embeddings[2:4])
    roles = Roles(*(role.copy() for role in features.roles))
    seen: set[int] = set()
    cannot = as_input_error(f"the labels {path} cannot be read", kinds=(OSError, UnicodeError, csv.Error))
    with cannot, TextIOWrapper(open_file(path), encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != ["tracklet", "person", "camera", "role"]:
            raise InputError(f"{path}: expected the header tracklet,person,camera,role, found {reader.fieldnames}.")
        for line in reader:
            rows = place.get(line["tracklet"] or "", [])
            if len(rows) != 1 or rows[0] in seen:
                what = "names a tracklet twice" if rows and rows[0] in seen else f"names {len(rows)} tracklets"
                raise InputError(
                    f"{path}, line {reader.line_num}: {line['tracklet']!r} {what} of the features, expected one; "
                    f"their names are like {features.first_frames[0]!r}."
                )
            seen.add(rows[0])
            person, camera = line["person"] or "", line["camera"] or ""
            if not re.fullmatch(r"-1|[0-9]{1,9}", person) or not re.fullmatch("[0-9]{1,9}", camera):
                raise InputError(f"{path}, line {reader.line_num}: expected whole numbers for person and camera.")
            if line["role"] not in ("query", "gallery", "both"):
                raise InputError(f"{path}, line {reader.line_num}: expected the role query, gallery or both.")
            persons[rows[0]], cameras[rows[0]] = int(person), int(camera)
            roles.query[rows[0]] = line["role"] != "gallery"
            roles.gallery[rows[0]] = line["role"] != "query"
            roles.junk[rows[0]] = int(person) == JUNK_ID
    embeddings = features.embeddings._replace(person_ids=persons, camera_ids=cameras)
    return replace(features, embeddings=embeddings, roles=roles)
