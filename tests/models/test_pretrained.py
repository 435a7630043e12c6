from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from rgcn_jax.errors import InputError
from rgcn_jax.models.pretrained import load_resnet50, torch_name
from rgcn_jax.models.resnet import ResNet50
from scripts.resnet50_reference_weights import draw_images, draw_weights
from scripts.resnet50_reference_weights import shapes as torch_shapes

DATA = Path(__file__).parent / "data"
SMALL = ResNet50(stage_sizes=(1,), width=4)


@cache
def shapes_of(trunk):
    return jax.eval_shape(lambda key: trunk.init(key, jnp.zeros((1, 32, 16, 3)), False), jax.random.key(0))


def abstract(trunk: Any):  # Any, for a module's hash is not in Linen's annotations
    return shapes_of(trunk)


@pytest.fixture
def weights():
    with np.load(DATA / "small_trunk.npz") as file:
        return dict(file)


def saved(folder, weights, prefix=""):
    path = folder / "model.safetensors"
    save_file({prefix + name: np.ascontiguousarray(value) for name, value in weights.items()}, path)
    return path


def test_names_are_pytorchs():
    keys = [[entry.key for entry in keys] for keys, _ in jax.tree_util.tree_leaves_with_path(abstract(ResNet50()))]
    assert sorted(map(torch_name, keys)) == sorted(torch_shapes())
    assert torch_name(["params", "layer1_0", "downsample_conv", "kernel"]) == "layer1.0.downsample.0.weight"
    assert torch_name(["batch_stats", "layer4_2", "bn3", "var"]) == "layer4.2.bn3.running_var"


def check_small(variables, weights):
    params, stats = variables["params"], variables["batch_stats"]
    kernel = params["layer1_0"]["conv2"]["kernel"]
    assert kernel[0, 2, 1, 3] == weights["layer1.0.conv2.weight"][3, 1, 0, 2]
    np.testing.assert_array_equal(kernel, weights["layer1.0.conv2.weight"].transpose(2, 3, 1, 0))
    downsample = weights["layer1.0.downsample.0.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(params["layer1_0"]["downsample_conv"]["kernel"], downsample)
    np.testing.assert_array_equal(params["layer1_0"]["bn2"]["scale"], weights["layer1.0.bn2.weight"])
    np.testing.assert_array_equal(stats["bn1"]["mean"], weights["bn1.running_mean"])
    np.testing.assert_array_equal(stats["layer1_0"]["bn3"]["var"], weights["layer1.0.bn3.running_var"])
    assert jax.tree.structure(variables) == jax.tree.structure(dict(abstract(SMALL)))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))


def test_a_file_of_torch_save_is_loaded(weights):
    check_small(load_resnet50(DATA / "small_trunk.pth", abstract(SMALL)), weights)


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "backbone.", "module.backbone."])
def test_safetensors_with_a_classifier_and_prefixes_are_loaded(tmp_path, weights, prefix):
    classifier = {"fc.weight": np.zeros((10, 16), np.float32), "fc.bias": np.zeros(10, np.float32)}
    path = saved(tmp_path, {**weights, **classifier}, prefix)
    check_small(load_resnet50(str(path), abstract(SMALL)), weights)


def test_a_training_checkpoint_is_loaded_in_float32():
    variables = load_resnet50(DATA / "small_trunk_checkpoint.pth", abstract(SMALL))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
    np.testing.assert_array_equal(variables["params"]["bn1"]["scale"], [2, 4, 6, 8])


@pytest.mark.jit
@pytest.mark.slow
def test_resnet50_with_loaded_weights_gives_pytorchs_features(tmp_path):
    path = saved(tmp_path, draw_weights())
    variables = load_resnet50(path, abstract(ResNet50()))
    features = jax.jit(lambda v, x: ResNet50().apply(v, x, False))(variables, jnp.asarray(draw_images()))
    with np.load(DATA / "resnet50_reference.npz") as reference:
        expected = reference["evaluation_last_stride_1"]
    assert np.abs(features - expected).max() <= 1e-5 * np.abs(expected).max()


def test_a_missing_file_is_named_with_what_to_get(tmp_path):
    with pytest.raises(InputError, match=r"absent\.pth, .*resnet50\.a1_in1k"):
        load_resnet50(tmp_path / "absent.pth", abstract(SMALL))


def refused(tmp_path, weights, message, trunk=SMALL):
    with pytest.raises(InputError, match=message):
        load_resnet50(saved(tmp_path, weights), abstract(trunk))


def test_missing_and_unexpected_names_are_reported(tmp_path, weights):
    del weights["bn1.running_var"]
    weights["layer1.1.conv1.weight"] = np.zeros((4, 16, 1, 1), np.float32)
    refused(tmp_path, weights, r"missing bn1\.running_var; unexpected layer1\.1\.conv1\.weight\.")


def test_long_reports_are_shortened(tmp_path, weights):
    refused(
        tmp_path,
        weights,
        r"missing (layer2\.0\.[\w.]+, ){3}layer2[\w.]+ and 16 more; unexpected nothing",
        ResNet50((1, 1), 4),
    )


def test_another_width_is_reported_as_a_shape(tmp_path, weights):
    refused(
        tmp_path,
        weights,
        r"has shape \[4\], expected \[8\]",
        ResNet50((1,), 8),
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_numbers_that_are_not_finite_are_refused(tmp_path, weights, value):
    weights["bn1.running_var"] = np.array([1, 1, value, 1])
    refused(tmp_path, weights, r"bn1\.running_var contains values that are not finite")


def test_integers_are_refused(tmp_path, weights):
    weights["bn1.weight"] = np.ones(4, np.int32)
    refused(tmp_path, weights, r"bn1\.weight .*int32")
