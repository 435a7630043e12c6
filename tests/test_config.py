"""The typed config: fields, ranges and rules, files and overrides, config.json of this version and of earlier ones."""

from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from rgcn_jax import config_help
from rgcn_jax.config import (
    ADDITIONS,
    DATA_SETS,
    POSITIONS,
    AugmentConfig,
    Config,
    ModelConfig,
    default_config,
    to_config_dict,
)
from rgcn_jax.config_io import (
    load_config_file,
    override,
    packaged_config,
    typed,
)
from rgcn_jax.config_sections import KeypointAugmentConfig
from rgcn_jax.errors import InputError
from rgcn_jax.evaluation import distance, protocol
from rgcn_jax.fields import leaves
from rgcn_jax.models import build
from rgcn_jax.models.build import build_model
from rgcn_jax.models.pose_input import ADDITIONS as INPUT_ADDITIONS
from rgcn_jax.models.pose_input import POSITIONS as INPUT_POSITIONS
from rgcn_jax.training.run import prepare
from rgcn_jax.training.train import train
from tests import mars_folder

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = sorted(CONFIGS.glob("*.py"))


def config_with(*overrides, file="walkers_paper"):
    return typed(override(packaged_config(file), [f"--config.{o}" for o in overrides]), name="c")


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.stem)
def test_a_config_file_is_valid_and_builds_its_model(file):
    loaded = load_config_file(str(file))
    assert loaded.is_locked
    with pytest.raises(AttributeError):
        loaded.no_such_field = 1
    said = []
    config = typed(loaded, said.append)
    assert said == []
    model = build_model(config.to_dict()["model"], 10, config.dtype, aspect=config.aspect)
    frames = jnp.zeros((2, 1, *config.frame_size, 3))
    keypoints, mask = jnp.zeros((2, 1, 14, 3)), jnp.ones((2, 1), bool)

    def features(key):
        return model.init_with_output(key, frames, keypoints, mask, train=False)[0]

    f_a = jax.eval_shape(features, jax.random.key(0)).appearance
    assert f_a.shape == (2, config.with_appearance * 4 * config.model.width * 2 ** (len(config.model.stage_sizes) - 1))


def test_every_field_says_what_it_means_and_the_docs_have_the_table():
    assert all(field.metadata["help"].endswith((".", ")")) for _, field, _ in leaves(Config()))
    page = CONFIGS.parent / "docs" / "config.md"
    assert page.read_text(encoding="utf-8") == config_help.page()
    assert all(f"--config.{name}=" in config_help.listing() for name, _, _ in leaves(Config()))


def choices(name):
    return {n: f.metadata["choices"] for n, f, _ in leaves(Config())}[name]


def test_the_choices_are_those_that_exist():
    """``config.py`` imports neither models nor data; so its lists are compared with theirs here."""
    assert choices("model.appearance") == (*build.APPEARANCES, "none")
    assert choices("model.pose") == ("none", *build.POSE_ENCODERS)
    assert choices("model.readout") == tuple(build.READOUTS)
    assert choices("dtype") == tuple(build.DTYPES)
    assert choices("evaluation.distance") == distance.KINDS
    assert choices("evaluation.protocol") == tuple(protocol.PROTOCOLS)
    assert tuple(INPUT_POSITIONS) == POSITIONS
    assert tuple(INPUT_ADDITIONS) == ADDITIONS


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (["seed=99999999999"], ["seed is 99999999999"]),
        (["evaluation.pose_weight=inf"], ["evaluation.pose_weight is inf"]),
        ([f"loss.margin={'9' * 400}"], ["loss.margin is 999"]),
        (["loss.margin=nan", "batch.identities=0"], ["loss.margin is 'nan'", "batch.identities is 0"]),
        (["loss.margin=hard"], ["loss.margin is 'hard': expected soft or a number of 0 or more"]),
        ([f"optimizer.learning_rate={'9' * 400}"], ["optimizer.learning_rate is inf"]),
        (
            ["loss.appearance_weight=1.5"],
            ["loss.appearance_weight is '1.5': expected adaptive or a number from 0 to 1"],
        ),
        (["model.pose=RGNC", "dtype=float16"], ["model.pose is 'RGNC'", "LGCN", "dtype is 'float16'"]),
        (["model.appearance=given"], ["model.appearance 'given' is now called 'precomputed'"]),
        (["data.walkers.cameras=1"], ["data.walkers.cameras is 1"]),
        (["data.walkers.train_identities=100"], ["data.walkers: train_identities", "group_size"]),
        (["num_epochs=0"], ["num_steps and num_epochs"]),
        (["profile_steps=5:3"], ["profile_steps is '5:3'"]),
        *(
            ([f"profile_steps={steps}"], [f"profile_steps is {steps!r}"])
            for steps in ("100", "0:3", "a:b", "1:2:3", "-1:2", "1: 2")
        ),
        (["model.pose_features=17"], ["model.pose_features is 17", "readout DAM"]),
        (["model.pose_input=centred+speed"], ["model.pose_input is 'centred+speed'"]),
        (["model.pose=STGCN", "model.graph_layers=2"], ["model.graph_layers is 2", "STGCN"]),
        (["model.pose=my_package:Mine", "model.graph_layers=2"], ["model.graph_layers is 2", "my_package:Mine"]),
        (
            ["model.pose=EvolveGCN-H", "model.graph_relu_each_layer=true"],
            ["model.graph_relu_each_layer", "EvolveGCN-H"],
        ),
        (["model.dropout=0.5"], ["model.dropout is 0.5", "RGCN"]),
        (["model.pose=STGCN", "model.graph_self=true"], ["model.graph_self is True", "STGCN"]),
        (["model.pose=GCNRNN", "model.product=true"], ["model.product is True", "GCNRNN"]),
        (["model.appearance=BiC", "model.pooling=max"], ["model.stage_sizes", "model.pooling is 'max'"]),
        (["model.appearance=precomputed", "model.remat=blocks"], ["data.features is empty", "model.remat is 'blocks'"]),
        (["model.appearance=none", "model.pose=none"], ["model.appearance and model.pose are both none"]),
        (["model.appearance=none", "data.features=f.npz"], ["data.features is f.npz"]),
        (
            ["model.appearance=none", "model.remat=blocks", "loss.appearance_triplet=neck"],
            ["model.remat is 'blocks'", "loss.appearance_triplet is 'neck'"],
        ),
        (["data.features=f.npz"], ["data.features is f.npz", "model.appearance"]),
    ],
)
def test_all_errors_are_listed_with_field_and_value(changes, named):
    with pytest.raises(InputError) as error:
        config_with(*changes)
    assert all(words in str(error.value) for words in named), error.value


def test_choices_are_read_without_regard_to_case():
    config = config_with(
        "model.pose=lgcn", "data.name=MARS", "evaluation.clips=Dense", "loss.appearance_weight=Adaptive"
    )
    assert (config.model.pose, config.data.name, config.evaluation.clips) == ("LGCN", "mars", "dense")
    assert config.loss.appearance_weight == "adaptive"
    assert config_with("loss.appearance_weight=0.5").loss.appearance_weight == 0.5
    assert config_with("loss.margin=Soft").loss.margin == "soft"


def test_a_plug_in_is_a_choice():
    assert config_with("model.pose=my_package.encoders:Mine").model.pose == "my_package.encoders:Mine"
    with pytest.raises(InputError, match=r"model\.neck"):
        config_with("model.neck=my_package:Mine")


def test_a_section_that_is_none_and_a_field_that_does_not_exist():
    with pytest.raises(
        InputError, match=r"batch is 3.*not a field.*learning_rate|learning_rate is not a field.*batch is 3"
    ):
        typed({"batch": 3, "learning_rate": 1.0, "num_steps": 1})
    deep = []
    for _ in range(500):
        deep = [deep]
    with pytest.raises(InputError, match="seed is"):
        typed({"seed": deep})


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
        ("--config.data.walkers.variation=3", "data.walkers.variation", 3.0),
    ],
)
def test_an_override_changes_one_field_and_keeps_its_type(argument, field, value):
    before = {name: v for name, _, v in leaves(typed(packaged_config("mars")))}
    after = {name: v for name, _, v in leaves(typed(override(packaged_config("mars"), [argument])))}
    assert after[field] == value
    assert type(after[field]) is type(before[field])
    assert {k: v for k, v in after.items() if k != field} == {k: v for k, v in before.items() if k != field}


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("model.readuot=DAM", "model.readout"),
        ("learning_rate=1", "optimizer.learning_rate"),
        ("qqqq=1", "parallel.num_devices"),
        ("batch.parts=2", "batch.micro_batches"),
        ("loss.pose_weight=1", "loss.appearance_weight"),
        ("model.recompute=blocks", "model.remat"),
    ],
)
def test_an_unknown_or_renamed_field_is_an_error_that_names_the_right_one(argument, named):
    with pytest.raises(InputError) as error:
        override(packaged_config("walkers"), [f"--config.{argument}"])
    assert argument.split("=")[0] in str(error.value)
    assert named in str(error.value)


def test_a_users_config_file(tmp_path):
    file = tmp_path / "mine.py"
    head = "from rgcn_jax.config import default_config\ndef get_config(text='x'):\n    c = default_config()\n"
    file.write_text(head + "    c.data.root = text\n    return c\n")
    assert load_config_file(f"{file}:hello").data.root == "hello"
    for margin in (0.5, "soft"):
        file.write_text(head + f"    c.data.name, c.loss.margin = 'walkers', {margin!r}\n    return c\n")
        assert typed(load_config_file(str(file))).loss.margin == margin
    for line, named in (("c.batch.parts = 2", "batch.micro_batches"), ("c.seed = 'one'", "seed"), ("1 / 0", "Zero")):
        file.write_text(head + f"    {line}\n    return c\n")
        with pytest.raises(InputError, match=r"mine\.py") as error:
            load_config_file(str(file))
        assert named in str(error.value)


def test_the_path_of_a_packaged_config_from_another_folder_names_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="--config=walkers"):
        load_config_file("configs/walkers.py")


def test_the_default_is_the_dataclasses_default():
    with pytest.raises(InputError, match=r"data\.name"):
        typed(default_config())
    for name in DATA_SETS:
        named = replace(Config(), data=replace(Config().data, name=name))
        assert typed(to_config_dict(named)) == named


def recorded(section, read, prefix=""):
    """A copy of a dataclass that adds the dotted name of every field that is read to ``read``."""
    kind, names = type(section), {field.name for field in fields(section)}

    class Recorded(kind):
        def __getattribute__(self, name):
            if name in names:
                read.add(prefix + name)
            return object.__getattribute__(self, name)

    copy = object.__new__(Recorded)
    for name in names:
        value = getattr(section, name)
        value = recorded(value, read, f"{prefix}{name}.") if is_dataclass(value) else value
        object.__setattr__(copy, name, value)
    return copy


class RecordedDict(dict):
    """The fields of a section as plain values; each that is looked up is added to ``read``."""

    def __init__(self, section, read, prefix):
        super().__init__({field.name: object.__getattribute__(section, field.name) for field in fields(section)})
        self._read, self._prefix = read, prefix

    def __getitem__(self, key):
        self._read.add(self._prefix + key)
        return super().__getitem__(key)

    def __iter__(self):  # without it ** would copy the values unseen
        return super().__iter__()


@pytest.mark.jit
@pytest.mark.slow
def test_every_field_is_read(tmp_path, monkeypatch):
    """By a tiny run in memory, or by the preparation of one from a folder: no field of the config is idle."""
    root = mars_folder.write(tmp_path / "MARS")
    small = {
        "train_identities": 4,
        "test_identities": 4,
        "group_size": 2,
        "cameras": 2,
        "min_frames": 3,
        "max_frames": 5,
    }
    walkers = [f"data.walkers.{name}={value}" for name, value in small.items()]
    sizes = [argument.removeprefix("--config.") for argument in mars_folder.TINY]
    memory = config_with(*sizes, *walkers, "num_steps=0", "num_epochs=1")
    folder = config_with(
        *sizes,
        f"data.root={root}",
        f"data.keypoints={root}/openpose",
        "model.pose=STGCN",
        "optimizer.schedule=cosine",
        file="mars_mini",
    )
    read = set()
    # What copies all fields at once, for a file or a comparison, uses none.
    monkeypatch.setattr(Config, "to_dict", lambda config: {})
    monkeypatch.setattr("rgcn_jax.training.train.save_config", lambda config, path: None)
    monkeypatch.setattr("rgcn_jax.training.train.way", lambda config, data: "")
    prefixes = {AugmentConfig: "augment.", KeypointAugmentConfig: "augment.keypoints.", ModelConfig: "model."}
    for module in ("rgcn_jax.training.run", "rgcn_jax.evaluation.scorer"):
        monkeypatch.setattr(
            f"{module}.asdict", lambda s: RecordedDict(s, read, prefixes[type(s).__base__]), raising=True
        )
    train(recorded(memory, read), tmp_path / "memory")
    prepare(recorded(folder, read))
    assert {name for name, _, _ in leaves(Config())} - read == set()
