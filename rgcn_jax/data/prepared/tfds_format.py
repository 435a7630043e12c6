"""Metadata for TensorFlow Datasets, which can open prepared data by itself: features of a record, and two JSON files.

None of this loads TensorFlow.

A record: ``image`` (the bytes of a JPEG or PNG file), ``keypoints`` [14, 3] (x and y as normalised coordinates,
confidence; zeros where not detected), ``person_id`` and ``camera_id`` as the data set has them (junk is -1,
distractors are 0), ``tracklet`` (its position in the data set), ``frame`` (position in the tracklet, from 0), ``name``
(path in the data set as it was distributed).
"""

import functools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rgcn_jax.data.prepared.format import ARRAY_RECORD, VERSION, Shard, builder_name
from rgcn_jax.errors import needs_extra

with needs_extra("data", "Preparing data needs TensorFlow Datasets"):
    import tensorflow_datasets as tfds
    from etils import epath  # whose paths it wants


@functools.cache
def features(height: int | None, width: int | None) -> Any:
    """The features of a record, as TensorFlow Datasets describes them; None: of frames of any size."""
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


def write_metadata(
    folder: Path, dataset: str, subsets: Mapping[str, Sequence[Shard]], height: int, width: int, description: str
) -> None:
    """Write ``dataset_info.json`` and ``features.json``.

    Args:
      folder: where the files go.
      dataset: name of the data set.
      subsets: name of a subset (``train``, ``test``) -> its shards, in order.
      height: of the frames, in pixels.
      width: of the frames, in pixels.
      description: what the data is.
    """
    # Among empty files: TensorFlow Datasets looks for the shards' names, which they get last.
    with tempfile.TemporaryDirectory(dir=folder) as name:
        empty = Path(name)
        names = tfds.core.ShardedFileTemplate(
            data_dir=epath.Path(empty),
            template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            dataset_name=builder_name(dataset),
            filetype_suffix=ARRAY_RECORD,
        )
        splits = [
            tfds.core.SplitInfo(
                name=subset,
                shard_lengths=[s.frames for s in shards],
                num_bytes=sum(s.size for s in shards),
                filename_template=names.replace(split=subset),
            )
            for subset, shards in subsets.items()
        ]
        for shards in subsets.values():
            for shard in shards:
                (empty / shard.file).touch()
        tfds.folder_dataset.write_metadata(
            data_dir=empty,
            features=features(height, width),
            split_infos=splits,
            version=VERSION,
            filename_template=names,
            check_data=False,  # it reads by as_dataset, which ArrayRecord has not
            description=description,
        )
        for written in empty.glob("*.json"):
            written.replace(folder / written.name)
