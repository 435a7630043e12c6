import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.distance import FeatureStatistics, fuse
from rgcn_jax.models.appearance import AveragePooling, FrameAppearance, PrecomputedFeatures
from rgcn_jax.models.pose_input import pose_input
from rgcn_jax.models.readout import DualAttention
from rgcn_jax.models.recurrent_gcn import LGCN, RGCN
from rgcn_jax.models.two_branch import TwoBranch, feature_statistics
from rgcn_jax.types import Embeddings
from tests.models.untyped import untyped

D, N, K = 5, 4, 7


class ColourTrunk(nn.Module):
    """Linear in the mean colour of an image."""

    @nn.compact
    def __call__(self, images, train):
        return nn.Dense(D)(images.mean(axis=(1, 2)))


def two_branch(pose=True, **fields):
    encoder, readout = (RGCN(N), DualAttention()) if pose else (None, None)
    return untyped(TwoBranch(FrameAppearance(ColourTrunk(), AveragePooling()), encoder, readout, K, **fields))


def clips(b=4, t=5, seed=0):
    rng = np.random.default_rng(seed)
    frames = jnp.asarray(rng.normal(size=(b, t, 8, 4, 3)), jnp.float32)
    keypoints = jnp.asarray(rng.uniform(0.2, 0.8, (b, t, 14, 3)), jnp.float32)
    return frames, keypoints, jnp.asarray([[True] * t] * (b - 1) + [[True] * (t - 1) + [False]])


@pytest.fixture(scope="module")
def variables():
    return {neck: jax.jit(two_branch(neck=neck).init)(jax.random.key(0), *clips()) for neck in ("none", "batchnorm")}


def test_each_branch_is_what_its_parts_compute_and_the_classifier_sees_both(variables):
    frames, keypoints, mask = clips()
    out = two_branch().apply(variables["none"], frames, keypoints, mask)
    params = variables["none"]["params"]
    f_a, aux = untyped(FrameAppearance(ColourTrunk(), AveragePooling())).apply(
        {"params": params["appearance"]}, frames, mask
    )
    x = pose_input(keypoints, "centred", 4 / 8, mask)
    H = RGCN(N).apply({"params": params["pose"]}, x, mask)
    f_p, attention = untyped(DualAttention()).apply({"params": params["readout"]}, H, mask)
    np.testing.assert_allclose(out.appearance, f_a, atol=1e-6)
    np.testing.assert_allclose(out.pose, f_p, atol=1e-6)
    f = np.concatenate([f_a, f_p], axis=1)
    np.testing.assert_allclose(out.logits, f @ params["classifier"]["kernel"] + params["classifier"]["bias"], atol=1e-5)
    np.testing.assert_allclose(out.attention["node"], attention["node"], atol=1e-6)
    np.testing.assert_allclose(out.attention["time"], attention["time"], atol=1e-6)
    np.testing.assert_allclose(out.aux["frame_features"], aux["frame_features"], atol=1e-6)
    assert out.pose.shape == (4, 2 * N)
    assert {a.dtype for a in out[:3]} == {jnp.dtype("float32")}


def test_the_pose_input_is_the_one_that_is_named(variables):
    frames, keypoints, mask = clips()
    out = two_branch(pose_input="crop").apply(variables["none"], frames, keypoints, mask)
    params = variables["none"]["params"]
    H = RGCN(N).apply({"params": params["pose"]}, pose_input(keypoints, "crop", 0.5, mask), mask)
    f_p, _ = DualAttention().apply({"params": params["readout"]}, H, mask)
    np.testing.assert_allclose(out.pose, f_p, atol=1e-6)


@pytest.mark.slow
def test_the_keypoint_embedding_stands_beside_the_input_of_every_frame():
    frames, keypoints, mask = clips()
    model = two_branch(keypoint_embedding=3)
    params = jax.jit(model.init)(jax.random.key(0), frames, keypoints, mask)["params"]
    e = params["keypoint_embedding"]
    assert e.shape == (14, 3)
    x = np.asarray(pose_input(keypoints, "centred", 0.5, mask))
    wide = np.concatenate([x, np.tile(np.asarray(e), (4, 5, 1, 1))], axis=-1)
    H = RGCN(N).apply({"params": params["pose"]}, wide, mask)
    f_p, _ = DualAttention().apply({"params": params["readout"]}, H, mask)
    variables = {"params": params, "batch_stats": model.init(jax.random.key(0), frames, keypoints, mask)["batch_stats"]}
    np.testing.assert_allclose(model.apply(variables, frames, keypoints, mask).pose, f_p, atol=1e-6)


def test_given_features_pass_through_and_the_pose_needs_an_aspect():
    _, keypoints, mask = clips()
    f_a = jnp.asarray(np.random.default_rng(0).normal(size=(4, D)), jnp.float32)
    model = TwoBranch(PrecomputedFeatures(), RGCN(N), DualAttention(), K, aspect=0.5)
    out, variables = model.init_with_output(jax.random.key(0), f_a, keypoints, mask)
    np.testing.assert_array_equal(out.appearance, f_a)
    H = RGCN(N).apply({"params": variables["params"]["pose"]}, pose_input(keypoints, "centred", 0.5, mask), mask)
    expected, _ = DualAttention().apply({"params": variables["params"]["readout"]}, H, mask)
    np.testing.assert_allclose(out.pose, expected, atol=1e-6)
    with pytest.raises(ValueError, match="aspect=width / height"):
        model.clone(aspect=None).init(jax.random.key(0), f_a, keypoints, mask)


def test_with_the_neck_in_the_features_everything_sees_its_output(variables):
    """Scale and offset are learned; evaluation normalises by the running statistics."""
    inputs, rng = clips(), np.random.default_rng(1)
    model = two_branch(neck="batchnorm_all")
    all_of_it = jax.jit(model.init)(jax.random.key(0), *inputs)
    plain = two_branch().apply(variables["none"], *inputs)
    params, stats = dict(all_of_it["params"]), dict(all_of_it["batch_stats"])
    for branch, d in (("appearance", D), ("pose", 2 * N)):
        drawn = {"scale": rng.normal(size=d), "bias": rng.normal(size=d)}
        params[f"neck_{branch}"] = {name: value.astype(np.float32) for name, value in drawn.items()}
    changed = {"params": params, "batch_stats": stats}
    out, updated = model.apply(changed, *inputs, train=True, mutable=["batch_stats"])
    trained = {"params": params, **updated}
    tested = model.apply(trained, *inputs)
    for branch, epsilon in (("appearance", 1e-5), ("pose", 1e-7)):
        neck, raw = params[f"neck_{branch}"], np.asarray(getattr(plain, branch), np.float64)
        expected = (raw - raw.mean(axis=0)) / np.sqrt(raw.var(axis=0) + epsilon) * neck["scale"] + neck["bias"]
        np.testing.assert_allclose(getattr(out, branch), expected, atol=2e-3)
        mean, var = 0.1 * raw.mean(axis=0), 0.9 + 0.1 * raw.var(axis=0)
        running = (raw - mean) / np.sqrt(var + epsilon) * neck["scale"] + neck["bias"]
        np.testing.assert_allclose(getattr(tested, branch), running, atol=1e-4)
    seen = np.concatenate([tested.appearance, tested.pose], axis=1)
    classifier = params["classifier"]
    np.testing.assert_allclose(tested.logits, seen @ classifier["kernel"] + classifier["bias"], atol=1e-4)


@pytest.mark.parametrize("neck", ["none", "batchnorm"])
def test_training_keeps_running_statistics_of_the_raw_features(variables, neck):
    out, state = two_branch(neck=neck).apply(variables[neck], *clips(), train=True, mutable=["batch_stats"])
    for name, f in (("appearance", out.appearance), ("pose", out.pose)):
        f = np.asarray(f, np.float64)
        kept = state["batch_stats"][f"statistics_{name}"]
        np.testing.assert_allclose(kept["mean"], 0.1 * f.mean(axis=0), rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(kept["var"], 0.9 + 0.1 * f.var(axis=0), rtol=1e-4)


@pytest.mark.jit
def test_tiny_variances_of_pose_features_are_kept_exactly():
    """The neck standardises a feature of spread 1e-3 around 1: the usual epsilon would shrink it threefold."""

    class Constant(nn.Module):
        def __call__(self, keypoints, mask, train):
            return jnp.ones((*keypoints.shape[:3], N)) + 1e-3 * jnp.arange(4.0)[:, None, None, None]

    model = TwoBranch(
        FrameAppearance(ColourTrunk(), AveragePooling()), Constant(), DualAttention(), K, neck="batchnorm"
    )
    state = jax.jit(model.init)(jax.random.key(0), *clips())
    step = jax.jit(lambda state: model.apply(state, *clips(), train=True, mutable=["batch_stats"]))
    step(state)
    out, new = step(state)
    np.testing.assert_allclose(out.pose.var(axis=0), 1.25e-6, rtol=1e-3)
    seen = np.asarray(out.logits - out.logits.mean(axis=0))
    f = np.asarray(out.pose - out.pose.mean(axis=0))
    params = state["params"]
    a = np.asarray(out.appearance, np.float64)
    z = np.concatenate([(a - a.mean(axis=0)) / np.sqrt(a.var(axis=0) + 1e-5), f / np.sqrt(1.25e-6 + 1e-7)], axis=1)
    np.testing.assert_allclose(seen, z @ np.asarray(params["classifier"]["kernel"]), atol=2e-3)
    np.testing.assert_allclose(new["batch_stats"]["statistics_pose"]["var"], 0.9 + 1.25e-7, rtol=1e-6)


def test_the_neck_standardises_and_scales_what_the_classifier_sees_and_leaves_the_features_raw(variables):
    inputs = clips()
    params = dict(variables["batchnorm"]["params"])
    assert params["neck_appearance"].shape == (D,)
    assert params["neck_pose"].shape == (2 * N,)
    params["neck_pose"] = jnp.arange(2.0 * N)
    rng = np.random.default_rng(0)
    stats = jax.tree.map(
        lambda s: jnp.asarray(rng.uniform(0.1, 1.0, s.shape), jnp.float32), variables["batchnorm"]["batch_stats"]
    )
    out = two_branch(neck="batchnorm").apply({"params": params, "batch_stats": stats}, *inputs)
    (mean_a, std_a), (mean_p, std_p) = feature_statistics(stats)
    standard = [(out.appearance - mean_a) / np.sqrt(std_a**2 + 1e-5), (out.pose - mean_p) / np.sqrt(std_p**2 + 1e-7)]
    seen = np.concatenate([standard[0], standard[1] * np.arange(2.0 * N)], axis=1)
    expected = seen @ params["classifier"]["kernel"] + params["classifier"]["bias"]
    np.testing.assert_allclose(out.logits, expected, atol=1e-4)
    raw = two_branch().apply(
        {**variables["none"], "params": {k: v for k, v in params.items() if "neck" not in k}}, *inputs
    )
    np.testing.assert_array_equal(out.appearance, raw.appearance)
    np.testing.assert_array_equal(out.pose, raw.pose)


def test_statistics_are_those_of_the_collection():
    stats = {
        "statistics_appearance": {"mean": jnp.array([1.0, 2.0]), "var": jnp.array([4.0, 0.0])},
        "statistics_pose": {"mean": jnp.array([3.0]), "var": jnp.array([1e-4])},
    }
    (mean_a, std_a), (mean_p, std_p) = feature_statistics(stats)
    np.testing.assert_array_equal(mean_a, [1.0, 2.0])
    np.testing.assert_array_equal(std_a, [2.0, 0.0])
    np.testing.assert_array_equal(mean_p, [3.0])
    np.testing.assert_allclose(std_p, [1e-2], rtol=1e-6)


def test_a_dimension_that_was_dead_in_training_has_no_say_in_the_distance():
    """The statistics and the distance together: one unit that fires for the first time must not drown the others."""
    rng = np.random.default_rng(0)
    var = jnp.asarray(np.r_[rng.uniform(0.5, 1.0, 15), 0.0], jnp.float32)
    stats = {"statistics_appearance": {"mean": jnp.zeros(16), "var": var}}
    features = rng.normal(size=(4, 16)).astype(np.float32)
    features[0, 15] = 0.5
    ids = np.zeros(4, np.int32)
    embeddings = Embeddings(features, np.zeros((4, 0), np.float32), ids, ids)
    (mean_a, std_a), (mean_p, std_p) = (tuple(map(np.asarray, pair)) for pair in feature_statistics(stats))
    kept = FeatureStatistics(mean_a, std_a, mean_p, std_p)
    standardised = fuse(embeddings, "appearance", "standardized", statistics=kept)
    assert (standardised[:, 15] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(standardised, axis=1), 1, rtol=1e-5)


def test_without_a_pose_branch_only_the_baseline_is_left():
    inputs = clips()
    with jax.disable_jit(False):
        variables = jax.jit(two_branch(pose=False).init)(jax.random.key(0), *inputs)
    out = two_branch(pose=False).apply(variables, *inputs)
    assert sum(p.size for p in jax.tree.leaves(variables["params"])) == (3 * D + D) + (D * K + K)
    assert out.pose.shape == (4, 0)
    assert out.attention == {}
    kernel, bias = (variables["params"]["classifier"][k] for k in ("kernel", "bias"))
    np.testing.assert_allclose(out.logits, out.appearance @ kernel + bias, atol=1e-6)
    statistics = feature_statistics(variables["batch_stats"])
    assert [[s.shape for s in pair] for pair in statistics] == [[(D,), (D,)], [(0,), (0,)]]


@pytest.mark.jit
def test_every_parameter_gets_a_gradient(variables):
    for neck, v in variables.items():

        def loss(params, v=v, neck=neck):
            model = two_branch(neck=neck)
            out, _ = model.apply({**v, "params": params}, *clips(), train=True, mutable=["batch_stats"])
            return (jax.nn.log_softmax(out.logits)[:, :3] ** 2).sum() + (out.appearance**2).sum() + (out.pose**2).sum()

        for path, g in jax.tree.leaves_with_path(jax.jit(jax.grad(loss))(v["params"])):
            assert (np.asarray(g) != 0).any(), path


@pytest.mark.jit
@pytest.mark.parametrize("neck", ["none", "batchnorm"])
def test_a_filler_clip_and_filler_frames_disturb_nobody_and_stay_finite(variables, neck):
    frames, keypoints, mask = clips()
    apply = jax.jit(two_branch(neck=neck).apply)
    out = apply(variables[neck], frames, keypoints, mask)
    more = apply(
        variables[neck],
        jnp.concatenate([frames, jnp.zeros_like(frames[:1])]),
        jnp.concatenate([keypoints, jnp.zeros_like(keypoints[:1])]),
        jnp.concatenate([mask, jnp.zeros_like(mask[:1])]),
    )
    for a, b in zip(jax.tree.leaves(more), jax.tree.leaves(out), strict=True):
        assert np.isfinite(a).all()
        np.testing.assert_allclose(a[:4], b, atol=1e-6)
    short = apply(variables[neck], frames[3:, :4], keypoints[3:, :4], mask[3:, :4])
    for name in ("appearance", "pose", "logits"):
        np.testing.assert_allclose(getattr(out, name)[3:], getattr(short, name), atol=1e-5)


@pytest.mark.jit
@pytest.mark.parametrize("pose", [RGCN(N), LGCN(N)])
def test_training_in_a_mesh_equals_training_on_one_device(pose):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    model = two_branch(neck="batchnorm").clone(pose=pose)
    variables = jax.jit(model.init)(jax.random.key(0), *clips())

    def step(model, variables, *inputs):
        def loss(params):
            out, new = model.apply({**variables, "params": params}, *inputs, train=True, mutable=["batch_stats"])
            return (out.logits**2).sum() + (out.pose**2).sum(), new

        return jax.grad(loss, has_aux=True)(variables["params"])

    meshed = model.clone(axis_name="data")
    specs = (P(), P("data"), P("data"), P("data"))
    both = jax.shard_map(lambda *a: step(meshed, *a), mesh=mesh, in_specs=specs, out_specs=P(), check_vma=True)
    one = jax.jit(lambda *a: step(model, *a))(variables, *clips())
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), jax.jit(both)(variables, *clips()), one
    )


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match="neck 'bn'.* none, batchnorm"):
        two_branch(neck="bn").init(jax.random.key(0), *clips())
    with pytest.raises(ValueError, match="both pose encoder and readout"):
        two_branch().clone(readout=None).init(jax.random.key(0), *clips())
    with pytest.raises(InputError, match="unknown pose input 'raw'"):
        two_branch(pose_input="raw").init(jax.random.key(0), *clips())
