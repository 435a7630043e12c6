"""Reader of the records of prepared data, for the pipeline that also reads clips from loose files."""

from typing import Any

import numpy as np
from jaxtyping import Shaped

from rgcn_jax.data.clips.sampling import BatchPlan
from rgcn_jax.data.clips.tensorflow_cpu import tf
from rgcn_jax.data.prepared.opened import Prepared
from rgcn_jax.errors import as_input_error, needs_extra

_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"  # recommended by ArrayRecord for random access
_IMAGE = {"image": tf.io.FixedLenFeature((), tf.string)}


class Records:
    """Records of prepared data as ``EncodedFrames``. Shards are opened on first use."""

    def __init__(self, prepared: Prepared):
        self._prepared = prepared
        self._shards = prepared.marker.shards
        self._readers: list[Any] = [None] * len(self._shards)
        self._starts = np.cumsum([0, *(shard.frames for shard in self._shards)])[:-1]  # row of the first record of each

    def fetch(self, plan: BatchPlan) -> Shaped[np.ndarray, "b t"]:
        """Read the serialized records of the plan's frames."""
        first = np.array([self._prepared.first_rows[t] for t in plan.tracklets])
        rows = (first[:, None] + plan.frames).ravel()
        shard_of = np.searchsorted(self._starts, rows, side="right") - 1
        records = np.empty(rows.size, object)
        for shard in np.unique(shard_of):
            of_shard = np.flatnonzero(shard_of == shard)
            records[of_shard] = self._read(int(shard), (rows[of_shard] - self._starts[shard]).tolist())
        return records.reshape(plan.frames.shape)

    def encoded(self, fetched: tf.Tensor) -> tf.Tensor:
        """Return the encoded image of a record."""
        return tf.io.parse_single_example(fetched, _IMAGE)["image"]

    def name(self, frame: str) -> str:
        """Name of a frame in the original data set, for messages."""
        return f"{frame} in {self._prepared.folder}"

    def _read(self, shard: int, positions: list[int]) -> list[bytes]:
        path = self._prepared.folder / self._shards[shard].file
        with as_input_error(
            f"{path} cannot be read", "copy it again, or prepare the data again", (RuntimeError, IndexError)
        ):
            if self._readers[shard] is None:
                self._readers[shard] = _open(str(path))
            return self._readers[shard].read(positions)


def _open(path: str) -> Any:
    with needs_extra("data", "Reading prepared data needs array_record"):
        from array_record.python.array_record_module import ArrayRecordReader
    return ArrayRecordReader(path, _OPTIONS, file_reader_buffer_size=32768)
