"""Metadata of prepared data for TensorFlow Datasets: features of a record, and two JSON files. Needs no TensorFlow.

Fields of a record:

- ``image``: JPEG or PNG.
- ``keypoints`` [14, 3]: x and y as normalised coordinates, and confidence; zeros if not detected.
- ``person_id`` and ``camera_id`` of the data set; junk is -1 and distractors are 0.
- ``tracklet``: position in the data set.
- ``frame``: position in the tracklet, from 0.
- ``name``: path in the original data set.
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
    from etils import epath  # its paths


@functools.cache
def features(height: int | None, width: int | None) -> Any:
    """Features of a record for TensorFlow Datasets. If height and width are None, frames may have any size."""
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
      folder: folder of the files.
      dataset: name of the data set.
      subsets: name of a subset (``train``, ``test``) -> its shards, in order.
      height: height of the frames in pixels.
      width: width of the frames in pixels.
      description: description of the data set.
    """
    # In a folder of empty files with the final names of the shards, since TensorFlow Datasets looks for these.
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
            check_data=False,  # uses as_dataset, which ArrayRecord does not support
            description=description,
        )
        for written in empty.glob("*.json"):
            written.replace(folder / written.name)
