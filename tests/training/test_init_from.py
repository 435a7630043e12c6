"""Training that begins with another run's weights: what is taken, what is new, what is left out, what does not fit."""

import json
import shutil
from typing import Any

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from rgcn_jax.config_io import override, packaged_config, typed
from rgcn_jax.errors import InputError
from rgcn_jax.models.build import build_model, initialise
from rgcn_jax.training.checkpoint import Checkpoints
from rgcn_jax.training.init_from import init_from_run
from rgcn_jax.training.train import train
from rgcn_jax.training.weights import read_weights
from tests import mars_folder, tiny
from tests.test_architecture import REPOSITORY


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of five people, its latest checkpoint at step 0."""
    workdir = tmp_path_factory.mktemp("run")
    with jax.disable_jit(False), Checkpoints(workdir) as checkpoints:
        checkpoints.save("latest", tiny.start(1)[0], {})
    return workdir


def model_of(people=7, **changes):
    shapes = jax.eval_shape(
        lambda: initialise(build_model(tiny.FIELDS | changes, people), 1, tiny.FRAMES, tiny.HEIGHT, tiny.WIDTH)
    )
    return jax.tree.map(lambda leaf: np.full(leaf.shape, 9, np.float32), shapes)


def test_all_but_the_classifier_is_taken_and_listed(run):
    reported = []
    found, origin = init_from_run(model_of(), run, reported.append)
    theirs = read_weights(run, "latest")
    ours: dict[str, Any] = flatten_dict(found, sep="/")
    for name, value in flatten_dict(theirs.variables, sep="/").items():
        if name.startswith("params/classifier/"):
            assert ours[name].shape[-1] == 7
            assert np.all(ours[name] == 9)
        else:
            np.testing.assert_array_equal(ours[name], value, err_msg=name)
    assert origin == {"checkpoint": "latest", "step": 0, "sha256": theirs.hash}
    assert "new: classifier (2); not used: nothing" in reported[0]


def test_what_only_one_of_both_has_is_listed(run):
    reported = []
    found, _ = init_from_run(model_of(appearance="AA", neck="none"), run, reported.append)
    new, left_out = reported[0].split("new: ")[1].split("; not used: ")
    assert new.split(", ")[0].startswith("appearance/")
    assert left_out == "neck_appearance (1), neck_pose (1)"
    assert all(np.all(np.asarray(v) == 9) for k, v in flatten_dict(found, sep="/").items() if "aggregation" in k)
    init_from_run(model_of(pose="none"), run, reported.append)
    assert "pose (3)" in reported[1].split("not used:")[1]


@pytest.mark.parametrize("changes", [{"pose_features": 32}, {"width": 8}, {"pose_input": "centred+velocity"}])
def test_another_shape_is_one_error_with_the_name_and_both_shapes(run, changes):
    with pytest.raises(InputError, match=r"(params|batch_stats)/\S+ .*\[\d.*\].*\[\d.*\]"):
        init_from_run(model_of(**changes), run, print)


def test_other_shapes_are_all_counted(run):
    with pytest.raises(InputError, match=r" and \d+ more") as error:
        init_from_run(model_of(width=8), run, print)
    assert str(error.value).count(", expected ") == 3


def test_a_folder_without_a_run_and_a_model_without_a_common_name(run, tmp_path):
    with pytest.raises(InputError, match="no 'latest' checkpoint"):
        init_from_run(model_of(), tmp_path, print)
    with pytest.raises(InputError, match="no parameter in common"):
        init_from_run({"params": {"other": np.zeros(1)}, "batch_stats": {}}, run, print)


def config(*changes):
    people = {"test_identities": 4, "group_size": 2, "cameras": 2, "max_frames": 5, "min_frames": 3}
    walkers = [f"--config.data.walkers.{name}={value}" for name, value in people.items()]
    fixed = ["--config.eval_every_epochs=0", "--config.checkpoint_every_steps=1", "--config.compilation_cache=False"]
    return typed(override(packaged_config("walkers"), [*mars_folder.TINY, *walkers, *fixed, *changes]))


def test_not_together_with_pretrained(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    with pytest.raises(InputError, match=r"model\.pretrained .*'a\.pth'.*model\.init_from .*'runs/mars'"):
        config("--config.model.pretrained=a.pth", "--config.model.init_from=runs/mars")


@pytest.mark.jit
@pytest.mark.slow
def test_a_run_from_a_run_and_resumed_without_it(tmp_path, monkeypatch, capsys):
    """Of other people. The hash of the weights stays with the run, the other run's folder is needed once."""
    monkeypatch.chdir(REPOSITORY)
    source, target = tmp_path / "source", tmp_path / "target"
    few, more = (f"--config.data.walkers.train_identities={n}" for n in (4, 6))
    train(config(few, "--config.num_steps=1"), source)
    expected = read_weights(source, "best")
    results = train(config(more, "--config.num_steps=1", f"--config.model.init_from={source}"), target)
    origin = {"checkpoint": "best", "step": 1, "sha256": expected.hash}
    assert results["init_from"] == origin
    assert f"from {source} (best checkpoint, step 1); new: classifier (2); not used: nothing" in capsys.readouterr().out
    shutil.rmtree(source)
    train(config(more, "--config.num_steps=2", f"--config.model.init_from={source}"), target)
    results = json.loads((target / "results.json").read_text())
    assert (results["step"], results["init_from"]) == (2, origin)
