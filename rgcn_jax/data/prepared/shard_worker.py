"""The entry point of a worker process of the preparation. Does not import TensorFlow until it is called there."""

import os
from collections.abc import Callable

from rgcn_jax.data.prepared.shard_task import ShardResult, ShardTask


def work(task: ShardTask, advance: Callable[[], None]) -> ShardResult:
    """``shard_writer.run`` for ``worker_pool.run_tasks``: imports TensorFlow, on one thread, in the worker alone."""
    os.environ.update(TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1", OMP_NUM_THREADS="1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # damaged images are reported by us
    from rgcn_jax.data.prepared import shard_writer

    return shard_writer.run(task, advance)
