"""Model parts of one's own, named by their import path."""

import jax
import pytest

from rgcn_jax.errors import InputError
from rgcn_jax.models.build import build_model, initialise, with_pretrained
from tests import tiny
from tests.models.untyped import untyped

SOURCE = """
import flax.linen as nn
import jax.numpy as jnp


class EveryFrameAlone(nn.Module):
    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, keypoints, mask=None, train=False):
        return nn.Dense(self.features, dtype=self.dtype)(keypoints)


class Colour(nn.Module):
    pooling: str

    def __call__(self, frames, mask=None, train=False):
        return getattr(frames, self.pooling)(axis=(1, 2, 3)), {}


def colour(pooling, **trunk):
    return Colour(pooling)


class FirstAndLast(nn.Module):
    vectors = 2

    def __call__(self, H, mask=None):
        return jnp.concatenate([H[:, 0].mean(axis=1), H[:, -1].mean(axis=1)], axis=-1), {}


class Last(nn.Module):
    def __call__(self, H, mask=None):
        return H[:, -1].mean(axis=1), {}


number = 3
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The name of a module of one's own on the Python path."""
    (tmp_path / "plugged_in.py").write_text(SOURCE)
    (tmp_path / "plugged_in_broken.py").write_text("import no_such_module_anywhere")
    monkeypatch.syspath_prepend(tmp_path)
    return "plugged_in"


@pytest.mark.slow
@pytest.mark.jit
@pytest.mark.parametrize(("readout", "width"), [("FirstAndLast", 8), ("Last", 16)])
def test_each_part_of_a_model_may_be_ones_own(mine, readout, width, tmp_path):
    own = {"pose": f"{mine}:EveryFrameAlone", "appearance": f"{mine}:colour", "readout": f"{mine}:{readout}"}
    model = build_model(tiny.FIELDS | own, tiny.IDENTITIES, platform="cpu")
    assert model.pose is not None
    assert (type(model.pose).__name__, model.pose.features) == ("EveryFrameAlone", width)
    variables = initialise(model, 0, tiny.FRAMES, tiny.HEIGHT, tiny.WIDTH)
    batch = tiny.batch()
    frames = jax.numpy.asarray(batch["frames"], jax.numpy.float32)
    features = untyped(model).apply(variables, frames, batch["keypoints"], batch["frame_mask"])
    assert features.appearance.shape == (8, 3)
    assert features.pose.shape == (8, 16)
    with pytest.raises(InputError, match="no ResNet50 named trunk"):
        with_pretrained(variables, tmp_path / "resnet50.safetensors")


@pytest.mark.parametrize(
    ("field", "path", "reported"),
    [
        ("pose", "no_such_module:Encoder", "ModuleNotFoundError"),
        ("pose", "plugged_in_broken:Encoder", "no_such_module_anywhere"),
        ("pose", ":Encoder", "importing ''"),
        ("pose", "plugged_in:Encoder", "no 'Encoder'"),
        ("pose", "plugged_in:", "no ''"),
        ("pose", "plugged_in:number", "a int"),
        ("pose", "plugged_in:Last", "features, dtype"),
        ("appearance", "plugged_in:Colour", "stage_sizes, width"),
        ("readout", "plugged_in:EveryFrameAlone", "features"),
    ],
)
def test_a_path_that_cannot_be_used_is_named(mine, field, path, reported):
    with pytest.raises(InputError, match=rf"^model.{field} is '{path}'.*{reported}"):
        build_model(tiny.FIELDS | {field: path}, tiny.IDENTITIES)
