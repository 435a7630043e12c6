"""The config files load, are locked and build their models; no field is idle; overrides and JSON keep types."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from ml_collections import ConfigDict

from rgcn_jax.config import default_config
from rgcn_jax.config_io import RANGES, check_numbers, leaves, load_config_file, load_config_json, override, save_config
from rgcn_jax.errors import InputError
from rgcn_jax.models.build import build_model
from rgcn_jax.training.train import prepare, train
from rgcn_jax.walkers import WalkersSpec
from tests import mars_folder

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = sorted(p for p in CONFIGS.rglob("*.py") if p.stem not in ("__init__", "base"))


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.stem)
def test_a_config_file_is_complete_locked_and_builds_its_model(file):
    config = load_config_file(str(file))
    assert config.is_locked
    assert {k for k, _ in leaves(default_config())} <= {k for k, _ in leaves(config)} | {"data.walkers"}
    check_numbers(config)
    WalkersSpec(**config.data.walkers.to_dict())
    with pytest.raises(AttributeError):
        config.no_such_field = 1
    model = build_model(config.model.to_dict(), 10, config.dtype)
    frames = jnp.zeros((2, 1, config.image_height, config.image_width, 3))
    keypoints, mask = jnp.zeros((2, 1, 14, 3)), jnp.ones((2, 1), bool)

    def features(key):
        return model.init_with_output(key, frames, keypoints, mask, train=False)[0]

    f_a = jax.eval_shape(features, jax.random.key(0)).appearance
    assert f_a.shape == (2, 4 * config.model.width * 2 ** (len(config.model.stage_sizes) - 1))


def test_a_config_that_does_not_begin_with_base_is_told():
    config = ConfigDict({"seed": 1})
    with pytest.raises(InputError, match=r"the config has no field num_epochs, .*rgcn_jax.config.default_config\(\)"):
        check_numbers(config)


@pytest.mark.parametrize("override_", ["seed=99999999999", "evaluation.pose_weight=inf", "loss.margin=nan"])
def test_numbers_out_of_range_are_told(override_):
    config = override(load_config_file("configs/walkers.py"), [f"--config.{override_}"])
    with pytest.raises(InputError, match=override_.split("=")[0]):
        check_numbers(config)


def test_every_number_has_a_range():
    numbers = {k for k, v in leaves(default_config()) if isinstance(v, int | float) and not isinstance(v, bool)}
    assert set(RANGES) == numbers


def recording(config, read, prefix=""):
    """The config as a ``ConfigDict`` that adds the dotted name of every leaf that is read to ``read``."""

    def plain(values, prefix):
        class Recorded(dict):
            def __getitem__(self, key):
                read.add(prefix + key)
                return super().__getitem__(key)

            def get(self, key, default=None):
                read.add(prefix + key)
                return super().get(key, default)

            def __iter__(self):  # without it ** would copy the values unseen
                return super().__iter__()

        return Recorded({k: plain(v, f"{prefix}{k}.") if isinstance(v, dict) else v for k, v in values.items()})

    class Recording(ConfigDict):
        def __getattr__(self, key):
            read.add(prefix + key)
            return super().__getattr__(key)

        def __getitem__(self, key):
            read.add(prefix + key)
            return super().__getitem__(key)

        def to_dict(self, *arguments, **named):
            before = set(read)
            values = super().to_dict(*arguments, **named)
            read.intersection_update(before)  # to convert is not to use
            return plain(values, prefix)

    result = Recording()
    for key, value in config.items():
        result[key] = recording(value, read, f"{prefix}{key}.") if isinstance(value, ConfigDict) else value
    return result


@pytest.mark.jit
@pytest.mark.slow
def test_no_field_is_idle(tmp_path, monkeypatch):
    """A tiny run in memory and the preparation of one from a folder read every leaf of the base config."""
    monkeypatch.chdir(CONFIGS.parent)
    root = mars_folder.write(tmp_path / "MARS")
    folder = load_config_file("configs/mars_mini.py")
    folder = override(folder, mars_folder.arguments(root, "--config.num_steps=1")[1:])
    small = {
        "train_identities": 4,
        "test_identities": 4,
        "group_size": 2,
        "cameras": 2,
        "min_frames": 3,
        "max_frames": 5,
    }
    memory = override(load_config_file("configs/walkers.py"), [*mars_folder.TINY, "--config.num_steps=0"])
    with memory.unlocked():
        memory.num_epochs = 1
        memory.data.walkers = ConfigDict(small)
    monkeypatch.setattr(
        "rgcn_jax.training.train.check_numbers", lambda config: None
    )  # they look at each number, and use none
    monkeypatch.setattr("rgcn_jax.training.train.save_config", lambda config, path: None)
    monkeypatch.setattr("rgcn_jax.training.train.write_results", lambda workdir, evaluation, config, beside: {})
    seen = set()
    for name, config in (("memory", memory), ("folder", folder)):
        read = set()
        recorded = recording(config, read)
        read.clear()  # of what making it has read
        if name == "memory":
            train(recorded, tmp_path / name)
        else:
            prepare(recorded)
        seen |= read
    assert {k for k, _ in leaves(default_config())} - seen == set()


@pytest.mark.parametrize(
    ("argument", "field", "value"),
    [
        ("--config.seed=7", "seed", 7),
        ("--config.optimizer.learning_rate=1e-2", "optimizer.learning_rate", 0.01),
        ("--config.loss.margin=1", "loss.margin", 1.0),
        ("--config.model.pose=LGCN", "model.pose", "LGCN"),
        ("--config.model.pretrained=", "model.pretrained", ""),
        ("--config.loss.weight_gradient", "loss.weight_gradient", True),
        ("--config.loss.weight_gradient=true", "loss.weight_gradient", True),
        ("--noconfig.model.graph_relu_each_layer", "model.graph_relu_each_layer", False),
        ("--config.model.stage_sizes=(1, 2)", "model.stage_sizes", (1, 2)),
        ("--config.loss.pose_weight=0.5", "loss.pose_weight", "0.5"),
    ],
)
def test_an_override_has_the_fields_type(argument, field, value):
    before = load_config_file(str(CONFIGS / "mars.py"))
    old = dict(leaves(before))
    config = override(before, [argument])
    new = dict(leaves(config))
    assert new[field] == value
    assert type(new[field]) is type(value)
    assert {k: v for k, v in new.items() if k != field} == {k: v for k, v in old.items() if k != field}


def test_an_unknown_field_is_told_with_near_ones():
    config = load_config_file(str(CONFIGS / "walkers.py"))
    with pytest.raises(InputError, match="unknown config field 'model.readuot': near ones are model.readout"):
        override(config, ["--config.model.readuot=DAM"])
    with pytest.raises(
        InputError, match="unknown config field 'learning_rate': near ones are .*optimizer.learning_rate"
    ):
        override(config, ["--config.learning_rate=1"])
    with pytest.raises(InputError, match="unknown config field 'qqqq': there are .*seed, .*parallel.num_devices"):
        override(config, ["--config.qqqq=1"])


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.stem)
def test_json_brings_a_config_back_with_its_types(file, tmp_path):
    config = load_config_file(str(file))
    save_config(config, tmp_path / "new" / "config.json")
    restored = load_config_json(tmp_path / "new" / "config.json")
    assert restored.is_locked
    before, after = dict(leaves(config)), dict(leaves(restored))
    assert before == after
    assert [type(v) for v in before.values()] == [type(v) for v in after.values()]
    assert override(restored, ["--config.model.stage_sizes=(2,)"]).model.stage_sizes == (2,)


def test_a_parameterised_config_file(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from ml_collections import ConfigDict\ndef get_config(text):\n    return ConfigDict({'text': text})\n"
    )
    assert load_config_file(f"{tmp_path}/mine.py:hello").text == "hello"
