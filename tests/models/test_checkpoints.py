"""Checkpoints of person re-identification and self-supervised training: names, heads, prefixes, PyTorch's numbers."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from rgcn_jax.errors import InputError
from rgcn_jax.models.bicnet import BiCnet
from rgcn_jax.models.build import build_model, initialise, with_pretrained
from rgcn_jax.models.pretrained import load_appearance, load_resnet50
from rgcn_jax.models.resnet import ResNet50
from rgcn_jax.models.weight_files import read_weights
from tests import pytorch, tiny
from tests.models import torch_networks as networks

DATA = Path(__file__).parent / "data"
STAGES, WIDTH = (1, 1), 2
TRUNK, BICNET = ResNet50(STAGES, WIDTH), BiCnet(ResNet50(networks.STAGES, networks.WIDTH))
IMAGES = np.random.default_rng(0).standard_normal((2, 32, 16, 3)).astype(np.float32)


@jax.jit
def features(variables):
    return TRUNK.apply(variables, IMAGES, False)


@pytest.fixture(scope="module")
def trunk():
    return jax.eval_shape(lambda key: TRUNK.init(key, IMAGES, False), jax.random.key(0))


@pytest.fixture(scope="module")
def bicnet():
    return jax.eval_shape(lambda key: BICNET.init(key, networks.drawn_clips()), jax.random.key(0))


@pytest.fixture
def weights():
    return networks.drawn(networks.trunk_shapes(STAGES, WIDTH))


def saved(folder, weights):
    path = folder / "model.safetensors"
    save_file({name: np.ascontiguousarray(value) for name, value in weights.items()}, path)
    return path


def of_project(name, weights):
    """The weights under a project's names, its heads with them, and what is said to be left out of the file."""
    named, heads, left_out = networks.PROJECTS[name]
    extra = {head: np.ones(shape, np.float32) for head, shape in heads.items()}
    return {named(k): value for k, value in weights.items()} | extra, left_out


@pytest.mark.parametrize("project", networks.PROJECTS)
def test_every_project_fills_the_same_trunk_and_its_heads_are_listed(project, tmp_path, trunk, weights):
    expected = load_resnet50(saved(tmp_path, weights), trunk)
    renamed, left_out = of_project(project, weights)
    reported = []
    found = load_resnet50(saved(tmp_path, renamed), trunk, reported.append)
    tiny.leaves_close(found, expected, rtol=0)
    (line,) = reported
    assert sorted(line.split("not used: ")[1].split(", ")) == sorted(left_out)


@pytest.mark.jit
@pytest.mark.parametrize("form", ["zip", "before 1.6"])
@pytest.mark.parametrize("project", networks.PROJECTS)
def test_what_pytorch_saved_gives_pytorchs_features(project, form, tmp_path, trunk, weights):
    torch = pytorch.torch()
    state = {name: torch.from_numpy(value) for name, value in of_project(project, weights)[0].items()}
    optimizer = torch.optim.Adam([torch.nn.Parameter(value) for value in state.values()])
    content = {"model": state, "best_acc": np.float32(0.5), "epoch": 3, "optimizer": optimizer.state_dict()}
    torch.save(content, tmp_path / "c.pth.tar", _use_new_zipfile_serialization=form == "zip")
    variables = load_resnet50(tmp_path / "c.pth.tar", trunk)
    expected = networks.trunk_features(weights, IMAGES)
    found = features(variables)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_the_file_of_before_pytorch_1_6_with_numbers_beside_the_weights(capsys):
    small = ResNet50((1,), 4)
    shapes = jax.eval_shape(lambda key: small.init(key, IMAGES, False), jax.random.key(0))
    found = load_resnet50(DATA / "video_person_reid.pth.tar", shapes)
    tiny.leaves_close(found, load_resnet50(DATA / "small_trunk.pth", shapes), rtol=0)
    assert "not used: classifier (1)" in capsys.readouterr().out


def test_the_stored_features_of_bicnet_are_pytorchs():
    pytorch.torch()
    weights = {name: value.astype(np.float32) for name, value in read_weights(DATA / "bicnet.pth.tar").items()}
    found = networks.bicnet_features(weights, networks.drawn_clips())
    with np.load(DATA / "bicnet_features.npz") as file:
        np.testing.assert_allclose(found, file["f_a"], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.jit
def test_bicnet_whole_gives_pytorchs_features(bicnet):
    found, _ = jax.jit(BICNET.apply)(load_appearance(DATA / "bicnet.pth.tar", bicnet), networks.drawn_clips())
    with np.load(DATA / "bicnet_features.npz") as file:
        expected = file["f_a"]
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_biases_of_bicnets_logits_are_in_the_running_mean(bicnet):
    weights = read_weights(DATA / "bicnet.pth.tar")
    variables = load_appearance(DATA / "bicnet.pth.tar", bicnet)
    for i in (0, 1):
        conv, mix, mean = (
            weights[f"DAO.{name}"].astype(np.float64)
            for name in (f"conv.{i}.bias", f"conv1.{i}.conv.weight", f"conv1.{i}.bn.running_mean")
        )
        bias = weights[f"DAO.conv1.{i}.conv.bias"].astype(np.float64)
        by_hand = [mean[k] - bias[k] - sum(mix[k, j, 0, 0, 0] * conv[0] for j in range(8)) for k in range(8)]
        found = variables["batch_stats"]["divided_attention"][f"mix_norm{i + 2}"]["mean"]
        np.testing.assert_allclose(found, by_hand, atol=5e-3)  # the sum is in the file's half precision
        assert np.abs(np.array(by_hand) - mean).max() > 0.1


@pytest.mark.jit
def test_a_whole_model_takes_bicnet_and_keeps_the_rest():
    fields = tiny.FIELDS | {"appearance": "BiC", "stage_sizes": networks.STAGES, "width": networks.WIDTH}
    shapes = jax.eval_shape(lambda: initialise(build_model(fields, 3), 0, 4, 16, 8))
    before = jax.tree.map(lambda leaf: np.full(leaf.shape, 9, np.float32), shapes)
    after = with_pretrained(before, DATA / "bicnet.pth.tar")
    assert jax.tree.structure(after) == jax.tree.structure(before)
    for path, leaf in jax.tree_util.tree_leaves_with_path(after):
        assert np.all(np.asarray(leaf) == 9) == ("'appearance'" not in jax.tree_util.keystr(path)), path


def test_bicnet_in_another_model_names_the_model(trunk):
    with pytest.raises(InputError, match=r"bicnet\.pth\.tar is .*BiCnet-TKS.*model\.appearance to BiC"):
        load_resnet50(DATA / "bicnet.pth.tar", trunk)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base.NL_2.0.g.weight": (4, 8, 1, 1)}, r"unexpected base\.NL_2\.0\.g\.weight"),
        ({"base.layer1.0.bn1.IN.weight": (1,)}, r"unexpected layer1\.0\.bn1\.IN\.weight"),
        ({"base.bn1.running_var": None}, r"missing bn1\.running_var"),
        (
            {"base.layer2.0.conv2.weight": (4, 4, 5, 5)},
            r"layer2\.0\.conv2\.weight has shape \[5, 5, 4, 4\].*\[3, 3, 4, 4\]",
        ),
        ({"other.layer1.0.conv1.weight": (2, 2, 1, 1)}, r"several ResNet-50s, .*other\."),
    ],
)
def test_what_does_not_fit_is_one_error(change, message, tmp_path, trunk, weights):
    file = {f"base.{name}": value for name, value in weights.items()}
    for name, shape in change.items():
        file.pop(name, None)
        if shape is not None:
            file[name] = np.ones(shape, np.float32)
    with pytest.raises(InputError, match=message):
        load_resnet50(saved(tmp_path, file), trunk)


def test_a_file_of_no_resnet_is_one_error(tmp_path, trunk):
    path = saved(tmp_path, {"blocks.0.attn.qkv.weight": np.ones((3, 3), np.float32)})
    with pytest.raises(InputError, match=r"missing bn1\.bias.*blocks\.0"):
        load_resnet50(path, trunk)


def test_kernels_of_one_entry_more_or_less_are_the_same(tmp_path, trunk, weights):
    """An inflated trunk, [d_out, d_in, 1, kh, kw]."""
    inflated = {k: value[:, :, None] if value.ndim == 4 else value for k, value in weights.items()}
    found = load_resnet50(saved(tmp_path, inflated), trunk)
    np.testing.assert_array_equal(
        found["params"]["layer2_0"]["conv2"]["kernel"],
        jnp.asarray(weights["layer2.0.conv2.weight"]).transpose(2, 3, 1, 0),
    )
