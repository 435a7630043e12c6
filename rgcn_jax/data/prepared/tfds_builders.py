"""Prepared data in TensorFlow Datasets: features of a record, metadata files, and builders for other pipelines.

::

    import rgcn_jax.data.prepared.tfds_builders  # registers them
    import tensorflow_datasets as tfds

    builder = tfds.builder("mars_pose", data_dir="PREPARED")
    frames = builder.as_data_source("train")

There is a builder ``<data set>_pose`` for each data set of ``datasets.registry.DATA_SETS``. It reads the output of
``python -m rgcn_jax.data.prepare`` and cannot prepare data itself, since the data sets cannot be downloaded. Needs no
TensorFlow.
"""

import functools
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from rgcn_jax.data.datasets.registry import DATA_SETS
from rgcn_jax.data.prepared.format import ARRAY_RECORD, VERSION, Shard, builder_name, read_marker
from rgcn_jax.errors import InputError, needs_extra

with needs_extra("data", "Preparing data needs TensorFlow Datasets"):
    import tensorflow_datasets as tfds

_DESCRIPTION = "{}: frames of tracklets with 14 keypoints, ids and cameras. One record a frame."


@functools.cache
def features(height: int | None, width: int | None) -> Any:
    """Features of a record. If height and width are None, frames may have any size.

    - ``image``: JPEG or PNG.
    - ``keypoints`` [14, 3]: x and y as normalised coordinates, and confidence; zeros if not detected.
    - ``person_id`` and ``camera_id`` of the data set; junk is -1 and distractors are 0.
    - ``tracklet``: position in the data set.
    - ``frame``: position in the tracklet, from 0.
    - ``name``: path in the original data set.
    """
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(height, width, 3)),
            "keypoints": tfds.features.Tensor(shape=(14, 3), dtype=np.float32),
            "person_id": np.int32,
            "camera_id": np.int32,
            "tracklet": np.int32,
            "frame": np.int32,
            "name": tfds.features.Text(),
        }
    )


def write_metadata(folder: Path, dataset: str, shards: Sequence[Shard], height: int, width: int) -> None:
    """Write ``dataset_info.json`` and ``features.json`` into a folder, for frames of this size in pixels."""
    version = tfds.core.Version(VERSION)
    identity = tfds.core.DatasetIdentity(builder_name(dataset), version, str(folder), module_name="")
    description = _DESCRIPTION.format(dataset)
    info = tfds.core.DatasetInfo(builder=identity, features=features(height, width), description=description)
    info.set_file_format(ARRAY_RECORD)
    splits = []
    for name, group in groupby(shards, lambda shard: shard.file.partition(".")[0].rpartition("-")[2]):
        subset = list(group)
        lengths, size = [shard.frames for shard in subset], sum(shard.size for shard in subset)
        splits.append(tfds.core.SplitInfo(name=name, shard_lengths=lengths, num_bytes=size))
    info.set_splits(tfds.core.SplitDict(splits))
    info.write_to_directory(folder)


class _Info(tfds.core.DatasetInfo):
    """Data set information that is not fetched from a server."""

    def initialize_from_bucket(self) -> None:
        """Do nothing; TensorFlow Datasets would query Google's storage."""


class _PreparedPose(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Base class of the builders. ArrayRecord does not support ``as_dataset``: use ``as_data_source``."""

    VERSION = tfds.core.Version(VERSION)

    def _info(self) -> tfds.core.DatasetInfo:
        height, width = None, None
        if self.data_path.is_dir():
            marker = read_marker(Path(self.data_dir))
            height, width = marker.height, marker.width
        return _Info(builder=self, description=self.__doc__, features=features(height, width))

    # A decorator makes the method of the base class an attribute for the type checker.
    def download_and_prepare(self, **options: Any) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Do nothing if the data set is prepared; otherwise raise InputError with the command that prepares it."""
        if not self.data_path.is_dir():
            raise InputError(
                f"{self.data_dir} does not exist: prepare the data set by python -m rgcn_jax.data.prepare "
                f"--dataset={self.name.removesuffix('_pose')} --root=... --keypoints=... --out={self._data_dir_root}."
            )

    def _split_generators(self, dl_manager: Any) -> NoReturn:
        raise NotImplementedError("nothing is generated")

    def _generate_examples(self, *_: Any) -> NoReturn:
        raise NotImplementedError("nothing is generated")


BUILDERS = {
    dataset: type(
        builder_name(dataset),
        (_PreparedPose,),
        {"name": builder_name(dataset), "__module__": __name__, "__doc__": _DESCRIPTION.format(dataset)},
    )
    for dataset in DATA_SETS
}
"""Data set -> builder. TensorFlow Datasets registers each class on creation."""
