"""BiCnet whole: its streams put together by hand, its statistics, its gradients, and one step of training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from safetensors.numpy import save_file

from rgcn_jax import parallel
from rgcn_jax.config import LossConfig
from rgcn_jax.models.bicnet import BiCnet, complete_clips
from rgcn_jax.models.build import build_model, initialise, with_pretrained
from rgcn_jax.models.pretrained import torch_name
from rgcn_jax.models.resnet import ResNet50
from rgcn_jax.training.state import create_state
from rgcn_jax.training.step import make_train_step
from tests import tiny
from tests.models import bicnet_reference as reference

STAGES, WIDTH = (1, 1, 1, 1), 4
TRUNK = ResNet50(STAGES, WIDTH)
MODEL = BiCnet(TRUNK)
FIELDS = {"appearance": "BiC", "stage_sizes": STAGES}


def clips(b, t, h=16, w=8, seed=0):
    return np.random.default_rng(seed).standard_normal((b, t, h, w, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def variables():
    return reference.drawn_variables(MODEL, clips(1, 4))


@jax.jit
def embed(variables, frames, mask=None):
    return MODEL.apply(variables, frames, mask)


@jax.jit
def train(variables, frames, mask=None):
    return MODEL.apply(variables, frames, mask, train=True, mutable=["batch_stats"])


def close(found, expected, share):
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= share * np.abs(expected).max()


def by_hand(variables, frames, counts):
    """f_a and masks of whole groups in evaluation mode, the trunk's stages taken as they are."""
    params, stats = variables["params"], variables["batch_stats"]
    inner = {"params": params["trunk"], "batch_stats": stats["trunk"]}

    def on_trunk(method, x, *index):
        out = np.asarray(TRUNK.apply(inner, *index, x.reshape(-1, *x.shape[-3:]), False, method=method))
        return out.reshape(*x.shape[:-3], *out.shape[1:])

    b, t = frames.shape[:2]
    x = on_trunk("stem", frames)
    detail, masks = x[:, ::4], None
    half = np.array([[reference.pooled(image, 2, np.max) for image in clip] for clip in x])
    context = np.stack([half[:, j::4] for j in (1, 2, 3)], axis=2)
    for stage in range(4):
        detail, context = (on_trunk("stage", stream.astype(np.float32), stage) for stream in (detail, context))
        if stage < 3:
            context = reference.propagate(detail, context, params[f"propagation{stage + 1}"])
        if stage == 1:
            name = "kernel_selection"
            detail, context, _ = reference.select_kernels(detail, context, counts, params[name], stats[name], False)
        if stage == 2:
            name = "divided_attention"
            detail, context, masks, _ = reference.attend(detail, context, params[name], stats[name], False)
    f_a = []
    for clip in range(b):
        kept = {0: [], 1: []}
        for i in range(t):
            if counts[clip, i]:
                group, place = divmod(i, 4)
                a_map = detail[clip, group] if place == 0 else context[clip, group, place - 1]
                kept[min(place, 1)].append(a_map.max(axis=(0, 1)))
        f_a.append(np.mean([np.mean(kind, axis=0) for kind in kept.values() if kind], axis=0))
    assert masks is not None
    return np.array(f_a), masks


@pytest.mark.slow
@pytest.mark.jit
def test_the_streams_are_put_together_as_described(variables):
    frames, counts = clips(3, 8, 35, 13), np.ones((3, 8), bool)
    counts[1, 6:] = False
    counts[2, 1:] = False
    frames[1, 6:] = frames[1, 5]
    frames[2, 1:] = frames[2, 0]
    f_a, masks = by_hand(variables, frames, counts)
    found, aux = embed(variables, frames, counts)
    close(found, f_a, 1e-4)
    np.testing.assert_allclose(aux["attention_masks"], masks, atol=1e-4)
    assert aux.keys() == {"attention_masks"}


@pytest.mark.slow
@pytest.mark.jit
@pytest.mark.parametrize("t", [1, 4, 6, 8, 10])
def test_any_number_of_frames_and_padding_that_does_not_count(variables, t):
    """A clip alone, and the same with masked noise behind it, have the same feature."""
    frames = clips(2, t, 19, 7)
    alone, aux = embed(variables, frames)
    assert alone.shape == (2, 32 * WIDTH)
    assert aux["attention_masks"].shape == (2, -(-t // 4), 3, 8)
    padded = np.concatenate([frames, 9 * clips(2, 12 - t, 19, 7, seed=1)], axis=1)
    close(embed(variables, padded, np.arange(12) < np.full((2, 1), t))[0], alone, 1e-5)
    if t > 1:
        assert np.abs(embed(variables, frames[:, ::-1])[0] - alone).max() > 1e-3  # the order of the frames matters


def test_clips_are_completed_by_their_last_frame_that_counts():
    frames = np.arange(12, dtype=np.float32).reshape(2, 6, 1, 1, 1).repeat(3, axis=4)
    full, counts = complete_clips(frames, None)
    assert full[:, :, 0, 0, 0].tolist() == [[0, 1, 2, 3, 4, 5, 5, 5], [6, 7, 8, 9, 10, 11, 11, 11]]
    assert counts.tolist() == [[True] * 6 + [False] * 2] * 2
    mask = np.array([[False, True, True, False, True, False], [False] * 6])
    full, counts = complete_clips(frames, mask)
    assert full[0, :, 0, 0, 0].tolist() == [1, 1, 2, 2, 4, 4, 4, 4]
    assert counts.tolist() == [[False, True, True, False, True, False, False, False], [False] * 8]


@pytest.mark.jit
def test_in_training_masked_frames_have_no_say_and_an_empty_clip_is_zero(variables):
    frames, mask = clips(3, 8), np.ones((3, 8), bool)
    mask[0, 6:] = mask[1] = False
    noisy = frames.copy()
    noisy[0, 6:] += 1
    (f_a, aux), stats = train(variables, frames, mask)
    (other, other_aux), other_stats = train(variables, noisy, mask)
    np.testing.assert_array_equal(f_a, other)
    np.testing.assert_array_equal(f_a[1], 0)
    tiny.leaves_close(stats, other_stats, rtol=0)
    assert float(aux["auxiliary_loss"]) == float(other_aux["auxiliary_loss"])
    grouped = mask.reshape(3, 2, 4)[:, :, 1:]
    expected = 0.01 * reference.diversity(np.asarray(aux["attention_masks"], np.float64), grouped)
    assert float(aux["auxiliary_loss"]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.jit
def test_running_statistics_take_detail_first_and_context_second(variables):
    """The first norm of the first stage, whose input is the stem's output; the stem's own is updated once."""
    frames = clips(3, 8)
    _, updated = train(variables, frames, np.ones((3, 8), bool))
    params, before, after = (
        tree["trunk"] for tree in (variables["params"], variables["batch_stats"], updated["batch_stats"])
    )
    inner = {"params": params, "batch_stats": before}
    images = frames.reshape(-1, 16, 8, 3)
    x, stem = TRUNK.apply(inner, images, True, method="stem", mutable=["batch_stats"])
    tiny.leaves_close(after["bn1"], stem["batch_stats"]["bn1"], rtol=1e-4, atol=1e-5)
    x = np.asarray(x, np.float64)
    half = np.array([reference.pooled(image, 2, np.max) for image in x])
    kernel = params["layer1_0"]["conv1"]["kernel"][0, 0].astype(np.float64)
    is_detail = np.arange(len(x)) % 4 == 0
    mean, var = before["layer1_0"]["bn1"]["mean"], before["layer1_0"]["bn1"]["var"]
    for stream in (x[is_detail] @ kernel, half[~is_detail] @ kernel):
        mean = 0.9 * mean + 0.1 * stream.mean((0, 1, 2))
        var = 0.9 * var + 0.1 * stream.var((0, 1, 2))
    np.testing.assert_allclose(after["layer1_0"]["bn1"]["mean"], mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after["layer1_0"]["bn1"]["var"], var, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.jit
def test_every_parameter_that_can_gets_a_gradient(variables):
    weights = np.random.default_rng(2).standard_normal((4, 32 * WIDTH))

    @jax.jit
    def gradients(params, frames):
        def weighted(params):
            (f_a, aux), _ = MODEL.apply({**variables, "params": params}, frames, train=True, mutable=["batch_stats"])
            return (f_a * weights).sum() + aux["auxiliary_loss"]

        return jax.grad(weighted)(params)

    leaves = jax.tree_util.tree_leaves_with_path(gradients(variables["params"], clips(4, 4, 48, 8)))
    # A constant that these add to every position of a stream is taken out by the stream's next normalisation.
    without = {("divided_attention", "norm0", "bias"), ("kernel_selection", "norm", "bias")}
    for path, leaf in leaves:
        assert np.isfinite(leaf).all(), path
        assert (np.abs(leaf).max() < 1e-4) == (tuple(entry.key for entry in path) in without), path


@pytest.mark.slow
@pytest.mark.jit
def test_bfloat16_stays_close_and_keeps_state_in_float32(variables):
    half, frames = MODEL.clone(trunk=TRUNK.clone(dtype=jnp.bfloat16)), clips(2, 8, 19, 7)
    rough, _ = jax.jit(half.apply)(variables, frames)
    exact, _ = embed(variables, frames)
    assert 0 < np.abs(rough - exact).mean() < 0.03 * np.abs(exact).mean()
    trained = jax.eval_shape(lambda v: half.apply(v, frames, train=True, mutable=["batch_stats"]), variables)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(trained))


@pytest.mark.parametrize("name", ["AP", "BiC"])
@pytest.mark.jit
def test_pretrained_weights_go_into_the_trunk_of_either_model(name, tmp_path):
    model = build_model(tiny.FIELDS | FIELDS | {"appearance": name}, 3)
    shapes = jax.eval_shape(lambda: initialise(model, 0, 3, 16, 8))
    before = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    trunk = {kind: before[kind]["appearance"]["trunk"] for kind in ("params", "batch_stats")}
    rng, file = np.random.default_rng(0), {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(trunk):
        shape = leaf.shape[::-1][:2] + leaf.shape[:2] if leaf.ndim == 4 else leaf.shape
        file[torch_name([entry.key for entry in path])] = rng.standard_normal(shape).astype(np.float32)
    save_file(file, tmp_path / "trunk.safetensors")
    after = with_pretrained(before, tmp_path / "trunk.safetensors")
    assert jax.tree.structure(after) == jax.tree.structure(before)
    loaded = after["params"]["appearance"]["trunk"]["layer4_0"]["conv2"]["kernel"]
    np.testing.assert_array_equal(loaded, file["layer4.0.conv2.weight"].transpose(2, 3, 1, 0))
    for path, leaf in jax.tree_util.tree_leaves_with_path(after):
        assert np.any(np.asarray(leaf) != 0) == ("trunk" in jax.tree_util.keystr(path)), path


@pytest.mark.jit
@pytest.mark.slow
def test_a_step_of_training_on_one_device_and_on_two():
    """The objective holds the auxiliary loss, and nothing depends on how the clips are spread."""
    results, optimizer = [], optax.sgd(1.0)
    fields = tiny.FIELDS | FIELDS | {"pose": "none"}
    inputs = clips(1, 3), np.zeros((1, 3, 14, 3), np.float32), np.ones((1, 3), bool)
    drawn = reference.drawn_variables(build_model(fields, tiny.IDENTITIES), *inputs)
    for devices in (1, 2):
        mesh = parallel.make_mesh(devices)
        step = make_train_step(
            build_model(fields, tiny.IDENTITIES, axis_name=parallel.AXIS), optimizer, LossConfig(), mesh
        )
        before = drawn["params"]
        state = parallel.replicate(create_state(drawn, optimizer, seed=0), mesh)
        after, metrics = step(state, parallel.shard(tiny.batch(), mesh))
        gradient = jax.tree.map(np.subtract, before, jax.device_get(after.params))
        results.append((gradient, jax.device_get(after.batch_stats), jax.device_get(metrics)))
    (gradient, stats, metrics), (other_gradient, other_stats, other_metrics) = results
    assert 0 < metrics["loss_auxiliary"] <= 0.01 * 2**0.5 / 4
    parts = metrics["loss_id"] + metrics["loss_appearance"] + metrics["loss_auxiliary"]
    assert metrics["loss"] == pytest.approx(parts, abs=1e-6)
    tiny.leaves_close(other_metrics, metrics, rtol=1e-4, atol=1e-6)
    tiny.leaves_close(other_stats, stats, rtol=1e-3, atol=1e-5)
    for (path, g), o in zip(jax.tree.leaves_with_path(gradient), jax.tree.leaves(other_gradient), strict=True):
        np.testing.assert_allclose(o, g, atol=1e-3 * np.abs(g).max() + 1e-6, err_msg=jax.tree_util.keystr(path))


def test_other_than_four_stages_are_refused():
    with pytest.raises(ValueError, match="expected 4 stages for BiCnet, found 3"):
        BiCnet(ResNet50((1, 1, 1), WIDTH)).init(jax.random.key(0), clips(1, 4))
