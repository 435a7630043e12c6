"""The trunk against PyTorch (stored outputs, see scripts/make_resnet50_reference.py), NumPy and its own contract."""

from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from rgcn_jax.models import cpu
from rgcn_jax.models.pretrained import torch_name
from rgcn_jax.models.resnet import ResNet50
from scripts.resnet50_reference_weights import draw_cotangent, draw_images, draw_weights
from tests.models.untyped import untyped

REFERENCE = Path(__file__).parent / "data" / "resnet50_reference.npz"
SMALL = ResNet50(stage_sizes=(1, 1), width=8)
FORMS = {"plain": {}, "cpu": cpu.TRUNK}


@pytest.fixture(scope="module")
def reference():
    with np.load(REFERENCE) as file:
        return dict(file)


@cache
def reference_variables():
    """The drawn weights, put into the trunk's tree without `load_resnet50`: by name and a transposition."""
    weights = draw_weights()
    shapes = jax.eval_shape(lambda key: ResNet50().init(key, jnp.zeros((1, 64, 32, 3)), False), jax.random.key(0))

    def of(keys, leaf):
        value = weights[torch_name([entry.key for entry in keys])]
        value = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value
        assert value.shape == leaf.shape
        return jnp.asarray(value)

    return jax.tree_util.tree_map_with_path(of, shapes)


@cache
def small_variables():
    return jax.jit(lambda key: SMALL.init(key, images(1), False))(jax.random.key(1))


def images(n, h=24, w=12, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((n, h, w, 3)), jnp.float32)


def close_to_scale(found, expected, share):
    """Largest difference, as a share of the expected values' largest magnitude."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= share * np.abs(expected).max()


@pytest.mark.jit
@pytest.mark.slow
@pytest.mark.parametrize(("last_stride", "form"), [(1, "plain"), (1, "cpu"), (2, "cpu")])
def test_features_are_those_of_pytorch(reference, last_stride, form):
    trunk = ResNet50(last_stride=last_stride, **FORMS[form])
    apply = jax.jit(lambda variables, x: trunk.apply(variables, x, False))
    features = apply(reference_variables(), jnp.asarray(draw_images()))
    close_to_scale(features, reference[f"evaluation_last_stride_{last_stride}"], 1e-5)


@pytest.fixture(scope="module", params=FORMS)
def training_step(request):
    """Features, statistics and gradients of the drawn weights in training mode, in float64: no ReLU opens by
    rounding.
    """

    def weighted(params, batch_stats, x, cotangent):
        trunk = ResNet50(dtype=jnp.float64, **FORMS[request.param])
        variables = {"params": params, "batch_stats": batch_stats}
        features, update = trunk.apply(variables, x, True, mutable=["batch_stats"])
        return jnp.sum(features * cotangent), (features, update["batch_stats"])

    with jax.enable_x64(True):
        variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), reference_variables())
        x, cotangent = jnp.asarray(draw_images(), jnp.float64), jnp.asarray(draw_cotangent(), jnp.float64)
        gradients, (features, batch_stats) = jax.jit(jax.grad(weighted, has_aux=True))(
            variables["params"], variables["batch_stats"], x, cotangent
        )
        return jax.device_get((features, batch_stats, gradients))


def by_torch_name(collection, tree):
    leaves, _ = jax.tree_util.tree_flatten_with_path({collection: tree})
    return {torch_name([entry.key for entry in keys]): np.asarray(leaf) for keys, leaf in leaves}


@pytest.mark.jit
@pytest.mark.slow
def test_training_mode_features_are_those_of_pytorch(reference, training_step):
    close_to_scale(training_step[0], reference["training"], 1e-10)


@pytest.mark.jit
@pytest.mark.slow
def test_running_statistics_are_those_of_pytorch_but_for_the_biased_variance(reference, training_step):
    updated, weights = by_torch_name("batch_stats", training_step[1]), draw_weights()
    names = [str(name) for name in reference["running_names"]]
    assert sorted(names) == sorted(updated)
    for name, expected in zip(names, reference["running"], strict=True):
        found = updated[name][:8].astype(np.float64)
        if name.endswith("running_var"):
            old = 0.9 * weights[name][:8].astype(np.float64)
            m = values_per_channel(name)
            found = old + (found - old) * m / (m - 1)
        close_to_scale(found, expected, 1e-10)


def values_per_channel(name):
    """Images times positions over which a norm of the reference averages, images 2 x 64 x 32, last stride 1."""
    if name.startswith("bn1"):
        return 2 * 32 * 16
    stage, block, norm = int(name[5]), int(name[7]), name[9:12]
    before_stride = block == 0 and norm == "bn1"
    return 2 * {1: 16 * 8, 2: 16 * 8 if before_stride else 8 * 4, 3: 8 * 4 if before_stride else 4 * 2, 4: 4 * 2}[stage]


@pytest.mark.jit
@pytest.mark.slow
def test_gradients_are_those_of_pytorch(reference, training_step):
    gradients = by_torch_name("params", training_step[2])
    names = [str(name) for name in reference["gradient_names"]]
    assert sorted(names) == sorted(gradients)
    for name, first, norm in zip(names, reference["gradient"], reference["gradient_norm"], strict=True):
        assert np.linalg.norm(gradients[name]) == pytest.approx(norm, rel=1e-8), name
        typical = norm / np.sqrt(gradients[name].size)
        np.testing.assert_allclose(gradients[name].reshape(-1)[:8], first, atol=1e-7 * typical, rtol=0, err_msg=name)


@pytest.mark.jit
def test_initial_kernels_have_the_fan_out_variance():
    kernel = small_variables()["params"]["layer2_0"]["conv2"]["kernel"]
    assert kernel.shape == (3, 3, 16, 16)
    # 2,304 normal numbers: the standard deviation is known to 1.5 %.
    assert np.std(kernel) == pytest.approx(np.sqrt(2 / (9 * 16)), rel=0.06)
    wide = small_variables()["params"]["layer2_0"]["downsample_conv"]["kernel"]
    assert wide.shape == (1, 1, 32, 64)
    # The fan-in would give 41 % more.
    assert np.std(wide) == pytest.approx(np.sqrt(2 / 64), rel=0.06)


def test_resnet50_has_the_published_number_of_parameters():
    shapes = jax.eval_shape(lambda key: ResNet50().init(key, images(1), False), jax.random.key(0))
    # torchvision's 25,557,032 less the classifier's 2,048 * 1,000 + 1,000.
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == 23_508_032
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["batch_stats"])) == 53_120


@pytest.mark.parametrize(
    ("stage_sizes", "width", "last_stride", "map_shape"),
    [
        ((3, 4, 6, 3), 64, 1, (16, 8, 2048)),
        ((3, 4, 6, 3), 64, 2, (8, 4, 2048)),
        ((1, 1, 1), 16, 1, (32, 16, 256)),
        ((1, 1, 1), 16, 2, (16, 8, 256)),
        ((2,), 4, 1, (64, 32, 16)),
        ((2,), 4, 2, (64, 32, 16)),
    ],
)
def test_shapes_of_features_and_map(stage_sizes, width, last_stride, map_shape):
    trunk = ResNet50(stage_sizes, width, last_stride)
    x = jnp.zeros((2, 256, 128, 3))
    variables = jax.eval_shape(lambda key: trunk.init(key, x, False), jax.random.key(0))
    assert jax.eval_shape(lambda v: trunk.apply(v, x, False, method="feature_map"), variables).shape == (2, *map_shape)
    assert jax.eval_shape(lambda v: trunk.apply(v, x, False), variables).shape == (2, map_shape[-1])


@pytest.mark.jit
@pytest.mark.parametrize(("h", "w"), [(1, 1), (17, 9)])
def test_any_size_of_image_gives_a_feature_that_is_the_mean_of_the_map(h, w):
    variables, x = small_variables(), images(2, h, w)

    @jax.jit
    def both(v):
        return SMALL.apply(v, x, False, method="feature_map"), SMALL.apply(v, x, False)

    mapped, features = both(variables)
    assert mapped.shape == (2, -(-h // 4), -(-w // 4), 64)
    np.testing.assert_allclose(features, np.mean(mapped, (1, 2)), rtol=1e-5, atol=1e-6)


@pytest.mark.jit
def test_running_statistics_follow_momentum_and_only_in_training():
    """The stem's norm, from NumPy's statistics of the stem's convolution."""
    variables, x = small_variables(), images(4)
    kernel = variables["params"]["conv1"]["kernel"]
    convolved = np.asarray(
        jax.lax.conv_general_dilated(x, kernel, (2, 2), [(3, 3)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")),
        np.float64,
    )
    _, update = jax.jit(lambda v: SMALL.apply(v, x, True, mutable=["batch_stats"]))(variables)
    stem = update["batch_stats"]["bn1"]
    np.testing.assert_allclose(stem["mean"], 0.1 * convolved.mean((0, 1, 2)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(stem["var"], 0.9 + 0.1 * convolved.var((0, 1, 2)), rtol=1e-4)
    _, unchanged = jax.jit(lambda v: SMALL.apply(v, x, False, mutable=["batch_stats"]))(variables)
    for before, after in zip(*map(jax.tree.leaves, (variables["batch_stats"], unchanged["batch_stats"])), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.jit
def test_evaluation_of_an_image_does_not_depend_on_the_others():
    apply = jax.jit(lambda x: SMALL.apply(small_variables(), x, False))
    together = apply(images(4))
    np.testing.assert_allclose(apply(images(4)[:1]), together[:1], rtol=1e-5, atol=1e-6)


@pytest.mark.jit
def test_norm_over_a_mesh_axis_sees_the_whole_batch():
    """With ``axis_name``, four devices with two images each give the features and statistics of one device with
    eight.
    """
    mesh = jax.make_mesh((4,), ("data",), devices=jax.devices()[:4], axis_types=(AxisType.Auto,))
    variables, x = small_variables(), images(8)

    def train(axis_name):
        trunk = SMALL.clone(axis_name=axis_name)
        return lambda variables, x: trunk.apply(variables, x, True, mutable=["batch_stats"])

    sharded = jax.shard_map(train("data"), mesh=mesh, in_specs=(P(), P("data")), out_specs=(P("data"), P()))
    ours, theirs = jax.jit(sharded)(variables, x), jax.jit(train(None))(variables, x)
    for found, expected in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.jit
def test_every_parameter_gets_a_gradient():
    weights = np.random.default_rng(2).standard_normal((4, 64))

    @jax.jit
    def gradients(variables, x):
        def weighted(params):
            features, _ = SMALL.apply({**variables, "params": params}, x, True, mutable=["batch_stats"])
            return jnp.sum(features * weights)

        return jax.grad(weighted)(variables["params"])

    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients(small_variables(), images(4))):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 1e-4, path


@pytest.mark.jit
def test_bfloat16_stays_close_and_keeps_state_in_float32():
    half, x = SMALL.clone(dtype=jnp.bfloat16), images(8)
    train = [
        jax.jit(lambda v, x, trunk=trunk: trunk.apply(v, x, True, mutable=["batch_stats"])) for trunk in (SMALL, half)
    ]
    (exact, exact_stats), (rough, rough_stats) = [step(small_variables(), x) for step in train]
    assert rough.dtype == jnp.float32
    mapped = jax.eval_shape(lambda v: half.apply(v, x, False, method="feature_map"), small_variables())
    assert mapped.dtype == jnp.bfloat16
    close_to_scale(rough, exact, 0.03)
    for found, expected in zip(jax.tree.leaves(rough_stats), jax.tree.leaves(exact_stats), strict=True):
        assert found.dtype == jnp.float32
        close_to_scale(found, expected, 0.03)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="last_stride is 3"):
        ResNet50(stage_sizes=(1,), last_stride=3).init(jax.random.key(0), images(1), False)


@pytest.mark.parametrize(("pooling", "pooled"), [("mean", np.mean), ("max", np.max)])
def test_a_feature_is_the_map_pooled_over_its_positions(pooling, pooled):
    trunk, variables = untyped(SMALL.clone(pooling=pooling)), small_variables()
    feature_map = trunk.apply(variables, images(2), False, method="feature_map")
    expected = pooled(np.asarray(feature_map, np.float64), axis=(1, 2))
    np.testing.assert_allclose(trunk.apply(variables, images(2), False), expected, rtol=1e-5, atol=1e-6)


def test_an_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="pooling is 'sum'"):
        SMALL.clone(pooling="sum").apply(small_variables(), images(1), False)
