"""evaluation.clips "full" and "interleaved": features of tracklets against the model called directly."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcn_jax import parallel
from rgcn_jax.data.clips import precomputed
from rgcn_jax.data.clips.memory import MemoryReader
from rgcn_jax.data.clips.reader import read_without_frames
from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.embed import Cutting, Extractor, Readers
from rgcn_jax.models import pose_features
from rgcn_jax.models.build import build_model, initialise
from rgcn_jax.types import Tracklet
from tests import tiny

T = 4
LENGTHS = (4, 9, 9, 17, 4)
TRACKLETS = [Tracklet(tuple(f"{i}/{t}" for t in range(n)), i, 1) for i, n in enumerate(LENGTHS)]


class Keypoints:
    """Random ones, each tracklet's own."""

    def of(self, tracklet):
        rng = np.random.default_rng(int(tracklet.person_id))
        return rng.uniform(0.2, 0.8, (len(tracklet.frames), 14, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def made():
    with jax.disable_jit(False):
        model = build_model(tiny.FIELDS | {"appearance": "precomputed", "pose_norm": True}, 0, aspect=0.5)
        variables = initialise(model, 0, T, 3)
    rows = {tracklet.frames[0]: i for i, tracklet in enumerate(TRACKLETS)}
    table = precomputed.FeatureTable(np.eye(len(LENGTHS), 3, dtype=np.float32), rows)
    read = MemoryReader(partial(precomputed.read_features, table=table, keypoints=Keypoints()))
    readers = Readers(read, MemoryReader(partial(read_without_frames, source=Keypoints())))
    return model, variables, readers


def extracted(made, clips, done=0, **changes):
    model, variables, readers = made
    extractor = Extractor(model, parallel.make_mesh(2), model.dtype)
    seen = []
    arguments = variables, readers._replace(**changes), TRACKLETS, Cutting(clips, T, 2), done
    found = list(extractor.tracklets(*arguments, on_batch=lambda plan, _: seen.append(plan.frames.shape)))
    return found, seen, extractor


@pytest.mark.slow
@pytest.mark.jit
def test_full_is_the_whole_tracklet_as_one_clip(made):
    model, variables, _ = made
    directly = jax.jit(partial(pose_features, model))
    found, shapes, extractor = extracted(made, "full")
    assert [feature.index for feature in found] == list(range(len(LENGTHS)))
    for tracklet, feature in zip(TRACKLETS, found, strict=True):
        keypoints = jnp.asarray(Keypoints().of(tracklet))[None]
        np.testing.assert_allclose(feature.pose, directly(variables, keypoints)[0], atol=1e-6)
        np.testing.assert_allclose(feature.appearance, np.eye(len(LENGTHS), 3)[feature.index])
    assert shapes == [(2, 16), (2, 32), (2, 4)]
    compiled = extractor._pose_step._cache_size()  # pyright: ignore[reportFunctionMemberAccess]
    assert compiled == len({16, 32, 4})


@pytest.mark.jit
def test_full_equals_even_where_a_tracklet_has_as_many_frames_as_a_clip(made):
    full, even = (extracted(made, clips)[0] for clips in ("full", "even"))
    for a, b, length in zip(full, even, LENGTHS, strict=True):
        if length == T:
            np.testing.assert_allclose(a.pose, b.pose, atol=1e-6)
    assert np.abs(full[1].pose - even[1].pose).max() > 1e-3


@pytest.mark.jit
def test_interleaved_is_the_mean_over_clips_of_every_s_th_frame(made):
    model, variables, _ = made
    directly = jax.jit(partial(pose_features, model))
    for feature, tracklet in zip(extracted(made, "interleaved")[0], TRACKLETS, strict=True):
        keypoints = Keypoints().of(tracklet)
        stride = -(-len(keypoints) // T)
        each = [directly(variables, keypoints[None, k::stride])[0] for k in range(stride)]
        np.testing.assert_allclose(feature.pose, np.mean(each, axis=0), atol=1e-6)


@pytest.mark.jit
@pytest.mark.parametrize("clips", ["full", "interleaved"])
def test_what_is_done_is_not_extracted_again(made, clips):
    everything, rest = extracted(made, clips)[0], extracted(made, clips, done=3)[0]
    assert [feature.index for feature in rest] == [3, 4]
    for a, b in zip(everything[3:], rest, strict=True):
        np.testing.assert_array_equal(a.pose, b.pose)
        np.testing.assert_array_equal(a.appearance, b.appearance)


@pytest.mark.jit
def test_without_a_reader_of_keypoints_full_is_refused(made):
    with pytest.raises(InputError, match="no keypoint reader"):
        extracted(made, "full", keypoints=None)
