"""config.json: it brings a config back, of this version and of earlier ones, and what may change on resume."""

import json
from dataclasses import replace

import pytest

from rgcn_jax.config_io import (
    changed_fields,
    load_config_file,
    load_config_json,
    override,
    save_config,
    typed,
)
from rgcn_jax.errors import InputError
from tests.test_config import FILES, config_with


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.stem)
def test_json_brings_a_config_back_with_its_types(file, tmp_path):
    config = replace(typed(load_config_file(str(file))), seed=3)
    save_config(config, tmp_path / "new" / "config.json")
    said = []
    restored = load_config_json(tmp_path / "new" / "config.json", said.append)
    assert restored.is_locked
    assert typed(restored) == config
    assert said == []
    assert override(restored, ["--config.model.stage_sizes=(2,)"]).model.stage_sizes == (2,)


def earlier_version(path, **changes):
    """A config.json as it was before fields were renamed and added; values by dotted name, None: taken away."""
    values = config_with("loss.appearance_weight=0.5").to_dict()
    values["batch"]["parts"] = values["batch"].pop("micro_batches")
    values["loss"]["pose_weight"] = str(values["loss"].pop("appearance_weight"))
    values["model"]["recompute"] = values["model"].pop("remat")
    del values["model"]["dropout"]
    for name, value in changes.items():
        section, leaf = name.split("__")
        values[section][leaf] = value
    path.write_text(json.dumps(values))
    return path


def test_a_config_json_of_an_earlier_version_is_translated_and_that_is_said(tmp_path):
    said = []
    config = typed(load_config_json(earlier_version(tmp_path / "config.json"), said.append))
    assert config == config_with("loss.appearance_weight=0.5")
    assert any("batch.parts is now batch.micro_batches" in line for line in said)
    assert any("model.dropout" in line and "default" in line for line in said)
    path = earlier_version(tmp_path / "config.json", model__appearance="given", data__features="f.npz")
    assert typed(load_config_json(path)).model.appearance == "precomputed"


@pytest.mark.parametrize(
    "text",
    [
        '{"loss": {"margin": -' + "9" * 400 + "}}",
        "",
        "[",
        "[]",
        "3",
        '{"batch": 3}',
        '{"model": {"pose": 1}}',
        "[" * 100_000,
        '{"x": 1}',
    ],
)
def test_a_config_json_of_another_kind_is_an_error_that_names_the_file(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config\.json"):
        load_config_json(tmp_path / "config.json")


def test_what_may_change_on_resume_and_what_may_not(tmp_path):
    path = tmp_path / "config.json"
    config = config_with()
    assert changed_fields(config, path, allow_change=False) == {}
    save_config(config, path)
    may = config_with("num_epochs=9", "evaluation.distance=euclidean", "model.remat=blocks", "data.root=/elsewhere")
    assert changed_fields(may, path, allow_change=False) == {}
    other = config_with("loss.margin=0.5", "model.pose=LGCN")
    with pytest.raises(InputError, match=r"loss\.margin 0\.3, not 0\.5.*model\.pose|model\.pose.*loss\.margin"):
        changed_fields(other, path, allow_change=False)
    assert changed_fields(other, path, allow_change=True) == {
        "loss.margin": (0.3, 0.5),
        "model.pose": ("RGCN", "LGCN"),
    }
