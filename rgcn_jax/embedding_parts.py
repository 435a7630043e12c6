"""Resumable embedding: part files that hold the features computed so far, next to the features file.

``.NAME.npz.parts/`` holds ``plan.json`` (model, data set and settings) and files with the features of consecutive
tracklets, each written atomically. A killed process loses only the tracklets after the last part file.
"""

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rgcn_jax.errors import MALFORMED, as_input_error
from rgcn_jax.evaluation.embed import TrackletFeature
from rgcn_jax.runtime.files import remove_unfinished, write_text, writing
from rgcn_jax.runtime.npz import read_arrays, write_arrays
from rgcn_jax.runtime.user_files import LARGEST_TEXT, read_file

PLAN_FILE = "plan.json"


class EmbeddingParts:
    """The part files of one features file, ``out``. Of several processes only the first creates one.

    ``plan``: everything that the features depend on (model, data set, settings), as JSON values. Parts of another plan
    are removed, and ``discarded`` is True. ``done``: number of tracklets in part files. Raises InputError if the folder
    cannot be written, or a part file is damaged.
    """

    def __init__(self, out: Path, plan: dict[str, Any]):
        self._folder = out.with_name(f".{out.name}.parts")
        self._files: list[tuple[int, int, Path]] = []
        self.done, self.discarded = 0, False
        text = json.dumps(plan, indent=2, sort_keys=True)
        with writing(self._folder):
            if self._folder.exists():
                there = self._folder / PLAN_FILE
                if there.is_file() and read_file(there, LARGEST_TEXT) == text.encode():
                    self._find()
                    return
                shutil.rmtree(self._folder)
                self.discarded = True
            self._folder.mkdir()
        write_text(self._folder / PLAN_FILE, text)

    def _find(self) -> None:
        """Find the contiguous part files that start at the first tracklet."""
        remove_unfinished(self._folder)
        named = [(re.fullmatch(r"([0-9]{8,12})-([0-9]{8,12})", p.stem), p) for p in self._folder.glob("*.npz")]
        by_start = {int(found[1]): (int(found[2]), p) for found, p in named if found and int(found[1]) < int(found[2])}
        while self.done in by_start:
            end, path = by_start[self.done]
            self._files.append((self.done, end, path))
            self.done = end

    def add(self, features: Sequence[TrackletFeature]) -> None:
        """Write the features of the next tracklets. Raises InputError if the file cannot be written."""
        end = self.done + len(features)
        path = self._folder / f"{self.done:08d}-{end:08d}.npz"
        with writing(path):
            write_arrays(
                path,
                {
                    "appearance": np.stack([feature.appearance for feature in features]),
                    "pose": np.stack([feature.pose for feature in features]),
                },
            )
        self._files.append((self.done, end, path))
        self.done = end

    def read(self) -> Iterator[TrackletFeature]:
        """Yield the features of all tracklets so far, in order. Raises InputError if a part file is damaged."""
        for start, end, path in self._files:
            with as_input_error(f"{path} is damaged", "remove it and rerun the same command", MALFORMED):
                arrays, _ = read_arrays(path, ("appearance", "pose"))
                kinds = {(array.dtype.name, array.ndim, len(array)) for array in arrays.values()}
                if kinds != {("float32", 2, end - start)}:
                    raise ValueError(f"expected rows of {end - start} tracklets")
                rows = zip(arrays["appearance"], arrays["pose"], strict=True)
            for i, (appearance, pose) in enumerate(rows, start=start):
                yield TrackletFeature(i, appearance, pose)

    def remove(self) -> None:
        """Remove the part files, after the features file has been written."""
        shutil.rmtree(self._folder, ignore_errors=True)
