"""Gap filling and standardisation of the pose input: against loops, under masks, over a mesh, frame by frame."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from rgcn_jax.models import RGCN, DualAttention, PrecomputedFeatures, TwoBranch, pose_input
from rgcn_jax.models.pose_input import fill_gaps
from rgcn_jax.models.pose_norm import EPSILON, MOMENTUM, PoseNorm
from rgcn_jax.models.streaming import initial_state, read, step
from rgcn_jax.models.streaming_input import initial_input, next_input
from tests.models.untyped import untyped

B, T, V, C = 4, 7, 14, 2
MASK = np.arange(T)[None] < np.array([7, 5, 1, 0])[:, None]


def clips(seed=0, missing=0.4):
    rng = np.random.default_rng(seed)
    x = rng.normal(3, 1, (B, T, V, C)).astype(np.float32)
    return x, rng.random((B, T, V)) >= missing


def filled_by_loops(x, seen, mask):
    """Each keypoint of each clip: np.interp over the frames that show it, which holds the ends."""
    out, present = np.zeros_like(x), np.zeros_like(seen)
    for b, v in np.ndindex(B, V):
        frames = np.flatnonzero(seen[b, :, v] & mask[b])
        if len(frames):
            for t in np.flatnonzero(mask[b]):
                present[b, t, v] = True
                out[b, t, v] = [np.interp(t, frames, x[b, frames, v, c]) for c in range(C)]
    return out, present


@pytest.mark.parametrize("missing", [0.0, 0.4, 0.9])
def test_gaps_are_filled_linearly_and_ends_held(missing):
    x, seen = clips(missing=missing)
    for mask in (MASK, np.ones((B, T), bool)):
        found, present = fill_gaps(x, seen, mask)
        expected, expected_present = filled_by_loops(x, seen, mask)
        np.testing.assert_array_equal(present, expected_present)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        kept = seen & mask[..., None]
        np.testing.assert_array_equal(np.asarray(found)[kept], x[kept])
        np.testing.assert_array_equal(fill_gaps(np.where(kept[..., None], x, 1e9), seen, mask)[0], found)


def test_the_pose_input_is_filled_after_centring():
    rng = np.random.default_rng(0)
    keypoints = rng.uniform(0.2, 0.8, (B, T, V, 3)).astype(np.float32)
    keypoints[rng.random((B, T, V)) < 0.3] = 0
    seen = keypoints[..., 2] > 0
    x = np.asarray(pose_input(keypoints, "centred", 0.5, MASK))
    expected, present = filled_by_loops(x, seen, MASK)
    found = pose_input(keypoints, "centred+confidence+bones", 0.5, MASK, fill=True)
    np.testing.assert_allclose(found[..., :2], expected, atol=1e-5)
    np.testing.assert_array_equal(found[..., 2], np.where(seen & MASK[..., None], keypoints[..., 2], 0))
    elbow, shoulder, both = expected[:, :, 3], expected[:, :, 2], present[:, :, 3] & present[:, :, 2]
    np.testing.assert_allclose(found[:, :, 3, 3:], np.where(both[..., None], elbow - shoulder, 0), atol=1e-5)
    np.testing.assert_array_equal(pose_input(keypoints, "centred", 0.5, MASK, fill=False), x)


def standardised_by_loops(batches):
    """Mean and variance of all observations, those of a batch weighing 0.95 times those of the keypoint's next."""
    mean, var = np.zeros((V, C)), np.ones((V, C))
    for v in range(V):
        groups = [x[:, :, v][seen[:, :, v]].astype(np.float64) for x, seen in batches]
        groups = [group for group in groups if len(group)]
        if groups:
            weights = np.concatenate([np.full(len(g), MOMENTUM ** (len(groups) - 1 - i)) for i, g in enumerate(groups)])
            values = np.concatenate(groups)
            mean[v] = np.average(values, axis=0, weights=weights)
            var[v] = np.average((values - mean[v]) ** 2, axis=0, weights=weights)
    return mean, var


@pytest.mark.jit
def test_statistics_are_those_of_all_observations_so_far():
    batches = [(x, seen & MASK[..., None]) for x, seen in (clips(seed, missing=0.6) for seed in range(5))]
    for i, (_, seen) in enumerate(batches):
        seen[:, :, 3] &= i in (1, 4)  # a keypoint that few batches show
        seen[:, :, 5] = False  # and one that none does
    module = PoseNorm()
    state = module.init(jax.random.key(0), *batches[0], batches[0][1])
    np.testing.assert_array_equal(state["batch_stats"]["mean"], np.zeros((V, C)))
    train = jax.jit(lambda state, x, seen: module.apply(state, x, seen, seen, train=True, mutable=["batch_stats"]))
    for i, (x, seen) in enumerate(batches):
        out, state = train(state, x, seen)
        mean, var = standardised_by_loops(batches[: i + 1])
        np.testing.assert_allclose(state["batch_stats"]["mean"], mean, atol=1e-5)
        np.testing.assert_allclose(state["batch_stats"]["var"], var, rtol=1e-4)
        expected = np.where(seen[..., None], (x - mean) / np.sqrt(var + EPSILON), 0)
        np.testing.assert_allclose(out, expected, atol=1e-4)
        np.testing.assert_allclose(untyped(module).apply(state, x, seen, seen), out, atol=1e-5)
        assert (np.asarray(out)[:, :, 5] == 0).all()


@pytest.mark.jit
def test_small_differences_around_a_large_mean_are_kept():
    rng = np.random.default_rng(0)
    x = (4 + 0.03 * rng.normal(size=(16, T, V, C))).astype(np.float32)
    seen = np.ones(x.shape[:3], bool)
    state: Any = PoseNorm().init(jax.random.key(0), x, seen, seen)
    step = jax.jit(lambda state: PoseNorm().apply(state, x, seen, seen, train=True, mutable=["batch_stats"])[1])
    for _ in range(20):
        state = step(state)
    np.testing.assert_allclose(state["batch_stats"]["var"], x.astype(np.float64).var(axis=(0, 1)), rtol=1e-3)


def model(**fields):
    settings = {"pose_fill": True, "pose_norm": True, "keypoint_embedding": 3} | fields
    return TwoBranch(PrecomputedFeatures(), RGCN(4, self_term=True), DualAttention(), 5, aspect=0.5, **settings)


def batch(seed=0):
    rng = np.random.default_rng(seed)
    keypoints = rng.uniform(0.2, 0.8, (B, T, V, 3)).astype(np.float32)
    keypoints[rng.random((B, T, V)) < 0.3] = 0
    return np.zeros((B, 3), np.float32), keypoints, MASK


@pytest.mark.jit
@pytest.mark.parametrize("fields", [{}, {"pose_fill": False}, {"pose_norm": False}])
def test_what_the_mask_hides_has_no_influence_not_even_through_the_statistics(fields):
    f_a, keypoints, mask = batch()
    two = model(**fields)
    variables = jax.jit(two.init)(jax.random.key(0), f_a, keypoints, mask)
    assert ("pose_norm" in variables["batch_stats"]) == two.pose_norm
    apply = jax.jit(lambda *inputs: two.apply(variables, *inputs, train=True, mutable=["batch_stats"]))
    hidden = np.where(mask[..., None, None], keypoints, np.float32(0.9))
    for a, b in zip(*(jax.tree.leaves(apply(f_a, k, mask)) for k in (keypoints, hidden)), strict=True):
        np.testing.assert_array_equal(a, b)
    more = np.pad(keypoints, ((0, 0), (0, 2), (0, 0), (0, 0)), constant_values=0.3), np.pad(mask, ((0, 0), (0, 2)))
    (out, new), (padded, padded_new) = apply(f_a, keypoints, mask), apply(f_a, *more)
    np.testing.assert_allclose(padded.pose, out.pose, atol=1e-6)
    for a, b in zip(jax.tree.leaves(new), jax.tree.leaves(padded_new), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.jit
def test_a_mesh_changes_nothing():
    x, seen = clips()
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    state = PoseNorm().init(jax.random.key(0), x, seen, seen)

    def train(module, state, x, seen):
        return module.apply(state, x, seen, seen, train=True, mutable=["batch_stats"])

    specs = {"in_specs": (P(), P("data"), P("data")), "out_specs": (P("data"), P()), "check_vma": True}
    both = jax.jit(jax.shard_map(lambda *a: train(PoseNorm("data"), *a), mesh=mesh, **specs))(state, x, seen)
    one = jax.jit(lambda *a: train(PoseNorm(), *a))(state, x, seen)
    for a, b in zip(jax.tree.leaves(both), jax.tree.leaves(one), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.jit
def test_frame_by_frame_gaps_are_held_where_the_batch_path_fills_them():
    x, seen = clips(missing=0.5)
    batch_form, _ = filled_by_loops(x, seen, np.ones((B, T), bool))
    state, held = initial_input(B), []
    for t in range(T):
        state, now = next_input(state, x[:, t], seen[:, t], {})
        held.append(now)
    held = np.stack(held, axis=1)
    for b, v, t in np.ndindex(B, V, T):
        frames = np.flatnonzero(seen[b, :, v])
        before, after = frames[frames <= t], frames[frames >= t]
        if len(before) == 0:
            expected = np.zeros(C)  # the batch path: the next position, or 0 as well where there is none
        elif len(after) == 0 or before[-1] == t:
            expected = batch_form[b, t, v]
        else:
            a, z = before[-1], after[0]
            expected = batch_form[b, t, v] - (t - a) / (z - a) * (x[b, z, v] - x[b, a, v])
        np.testing.assert_allclose(held[b, t, v], expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.jit
def test_a_stream_without_gaps_gives_the_feature_of_the_batch_path():
    f_a, keypoints, _ = batch()
    keypoints, mask = np.where(keypoints == 0, 0.5, keypoints).astype(np.float32), np.ones((B, T), bool)
    two = model()
    variables = jax.jit(two.init)(jax.random.key(0), f_a, keypoints, mask)
    apply = jax.jit(lambda v: two.apply(v, f_a, keypoints, mask, train=True, mutable=["batch_stats"])[1])
    variables = {**variables, **apply(variables)}
    expected = jax.jit(two.apply)(variables, f_a, keypoints, mask).pose
    x = pose_input(keypoints, "centred", 0.5, mask)
    assert two.pose is not None
    assert two.readout is not None
    encoder = RGCN(4, self_term=True)
    state, inputs = initial_state(encoder, B), initial_input(B)
    one = jax.jit(lambda state, x: step(encoder, variables["params"], state, x))
    for t in range(T):
        inputs, now = next_input(inputs, x[:, t], jnp.ones((B, V), bool), variables)
        state = one(state, now)
    np.testing.assert_allclose(read(DualAttention(), variables["params"], state), expected, atol=1e-6)
