"""Learn the fusion of ``evaluation.distance="calibrated"`` from a model's training persons: ``calibrate --fusion``."""

from collections.abc import Sequence
from functools import partial

import jax
import numpy as np

from rgcn_jax.data.clips.dropout import KeypointDropout
from rgcn_jax.data.clips.memory import MemoryReader
from rgcn_jax.data.clips.reader import Data, ProcessReader, read_without_frames
from rgcn_jax.embedder import Embedder
from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.calibrated import Fusion
from rgcn_jax.evaluation.embed import Cutting, Extractor, Readers
from rgcn_jax.evaluation.learn_fusion import PoseSample, learn_fusion
from rgcn_jax.evaluation.pose_quality import pose_quality
from rgcn_jax.evaluation.scorer import scorer_from_config
from rgcn_jax.types import Tracklet

RATES = (0.25, 0.5, 0.75)
"""Keypoint dropout rates at which poses are embedded, so that training covers every keypoint quality."""


def learn_from_training_persons(embedder: Embedder, data: Data) -> Fusion:
    """Learn the fusion of a model from the training tracklets of its data set.

    Raises InputError if the model has only one branch, or no training person was seen by two cameras.
    """
    config = embedder.config
    if not (config.with_pose and config.with_appearance):
        raise InputError(f"the model {embedder.path} has one branch only, so there is nothing to fuse.")
    scorer = scorer_from_config(config, embedder.model, data, embedder.mesh)
    found = scorer.train_features(embedder.variables, embedder.step)
    samples = [pose_with_dropout(embedder, data, data.split.train, rate) for rate in (0.0, *RATES)]
    return learn_fusion(found.embeddings, embedder.statistics, samples, found.num_frames)


def pose_with_dropout(
    embedder: Embedder, data: Data, tracklets: Sequence[Tracklet], rate: float, seed: int = 0
) -> PoseSample:
    """f_p of tracklets whose keypoints are dropped with probability ``rate``, and the quality of the rest."""
    if data.keypoints is None:
        raise InputError("the data set has no keypoints.")
    config = embedder.config
    source = KeypointDropout(data.keypoints, rate, seed)
    read = MemoryReader(partial(read_without_frames, source=source))
    reader = ProcessReader(read, jax.process_index(), jax.process_count())
    extractor = Extractor(embedder.model.clone(appearance=None, num_identities=0), embedder.mesh, embedder.model.dtype)
    cutting = Cutting(config.evaluation.clips, config.frames_per_clip, config.evaluation.clips_per_batch)
    features = extractor.tracklets(embedder.variables, Readers(reader, reader), tracklets, cutting)
    return PoseSample(np.stack([feature.pose for feature in features]), pose_quality(source.of, tracklets))
