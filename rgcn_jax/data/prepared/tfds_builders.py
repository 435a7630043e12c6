"""Builders of TensorFlow Datasets for prepared data, for use in other pipelines.

::

    import rgcn_jax.data.prepared.tfds_builders  # registers them
    import tensorflow_datasets as tfds

    builder = tfds.builder("mars_pose", data_dir="PREPARED")
    frames = builder.as_data_source("train")

There is a builder ``<data set>_pose`` for each data set of ``datasets.registry.DATA_SETS``. It reads the output of
``python -m rgcn_jax.data.prepare`` and cannot prepare data itself, since the data sets cannot be downloaded.
``tfds_format.py`` defines a record. Needs no TensorFlow.
"""

from pathlib import Path
from typing import Any, NoReturn

from rgcn_jax.data.datasets.registry import DATA_SETS
from rgcn_jax.data.prepared.format import VERSION, builder_name, read_marker
from rgcn_jax.data.prepared.tfds_format import features, tfds
from rgcn_jax.errors import InputError

_DESCRIPTION = "Frames of {} with 14 keypoints, ids and cameras; published splits of the persons are in index.npz."


class _Info(tfds.core.DatasetInfo):
    """Data set information that is not fetched from a server."""

    def initialize_from_bucket(self) -> None:
        """Do nothing; TensorFlow Datasets would query Google's storage."""


class _PreparedPose(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Base class of the builders. ArrayRecord does not support ``as_dataset``: use ``as_data_source``."""

    VERSION = tfds.core.Version(VERSION)

    def _info(self) -> tfds.core.DatasetInfo:
        return _Info(builder=self, description=self.__doc__, features=features(*self._size()))

    def _size(self) -> tuple[int, int] | tuple[None, None]:
        """Height and width of the frames; None before preparation."""
        if not self.data_path.is_dir():
            return None, None
        marker = read_marker(Path(self.data_dir))
        return marker.height, marker.width

    # A decorator makes the method of the base class an attribute for the type checker.
    def download_and_prepare(self, **options: Any) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Do nothing if the data set is prepared; otherwise raise InputError with the command that prepares it."""
        if not self.data_path.is_dir():
            self._not_prepared()

    def _not_prepared(self) -> NoReturn:
        raise InputError(
            f"{self.data_dir} does not exist: prepare the data set by python -m rgcn_jax.data.prepare "
            f"--dataset={self.name.removesuffix('_pose')} --root=... --keypoints=... --out={self._data_dir_root}."
        )

    def _split_generators(self, dl_manager: Any) -> NoReturn:
        self._not_prepared()

    def _generate_examples(self, *_: Any) -> NoReturn:
        self._not_prepared()


BUILDERS = {
    dataset: type(
        builder_name(dataset),
        (_PreparedPose,),
        {"name": builder_name(dataset), "__module__": __name__, "__doc__": _DESCRIPTION.format(dataset)},
    )
    for dataset in DATA_SETS
}
"""Data set -> builder. TensorFlow Datasets registers each class on creation."""
