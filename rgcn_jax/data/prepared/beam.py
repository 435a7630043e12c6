"""Writer of shards as an Apache Beam pipeline, on many machines with a shared file system.

Options are those of ``tfds build --beam_pipeline_options``: ``runner=FlinkRunner,flink_master=HOST:8081``. The extra
``beam`` must be installed here and on the workers. An element is a shard, which is written atomically, so runners may
retry it.
"""

from collections.abc import Sequence
from dataclasses import replace

from rgcn_jax.data.prepared.shard import ShardTask, work
from rgcn_jax.errors import InputError


def write_shards(tasks: Sequence[ShardTask], options: str) -> None:
    """Write shards; shards with unusable frames are skipped.

    Args:
      tasks: the missing shards.
      options: pipeline options, NAME=VALUE separated by commas.

    Raises:
      InputError: Apache Beam is not installed, rejects the options, or the pipeline failed.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise InputError(f"--beam needs the extra beam ({error}): pip install 'rgcn_jax[beam]'.") from error
    if not tasks:
        return
    try:
        settings = PipelineOptions([f"--{option}" for option in options.split(",")])
        with beam.Pipeline(options=settings) as pipeline:
            _ = pipeline | beam.Create([_absolute(task) for task in tasks]) | beam.Reshuffle() | beam.Map(_write)
    except Exception as error:  # the class depends on the runner
        what = " ".join(str(error).split())[:300]
        raise InputError(
            f"the pipeline of --beam={options} failed ({what}); what is finished is kept, rerun the same command to "
            "resume."
        ) from error


def _absolute(task: ShardTask) -> ShardTask:
    return replace(task, path=task.path and task.path.resolve(), root=task.root.resolve())


def _write(task: ShardTask) -> None:
    if task.path is not None and not task.path.is_file():
        work(task, lambda: None)
