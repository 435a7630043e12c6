"""What a resumed run takes from outside is compared with what it had."""

import ast
import inspect
from dataclasses import replace

import pytest

from rgcn_jax.config import Config
from rgcn_jax.errors import InputError
from rgcn_jax.training import train
from rgcn_jax.training.inputs import (
    INPUTS_FILE,
    Inputs,
    changed_data,
    changed_versions,
    check_checkpoint,
    pretrained_hash,
    read_inputs,
    way,
    write_inputs,
)

DATA = {"tracklets": "a" * 64, "keypoints": "b" * 64, "features": "c" * 64}
GIVEN = Inputs(DATA, "d" * 64, {"jax": "1", "numpy": "2"}, ("way",))


def test_they_are_kept_and_a_work_directory_of_before_has_none(tmp_path):
    assert read_inputs(tmp_path) is None
    write_inputs(tmp_path, GIVEN)
    assert read_inputs(tmp_path) == GIVEN


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"data": 1, "pretrained": null, "versions": {}, "ways": []}', "[" * 9999]
)
def test_a_damaged_file_is_reported(text, tmp_path):
    (tmp_path / INPUTS_FILE).write_text(text)
    with pytest.raises(InputError, match=r"inputs.json was not written by a run"):
        read_inputs(tmp_path)


@pytest.mark.parametrize("name", sorted(DATA))
def test_other_data_are_refused_or_where_that_is_allowed_noted(name, tmp_path):
    now = DATA | {name: "e" * 64}
    assert changed_data(tmp_path, GIVEN, DATA, False) == {}
    with pytest.raises(InputError, match=f"other data: {name}"):
        changed_data(tmp_path, GIVEN, now, False)
    assert changed_data(tmp_path, GIVEN, now, True) == {f"data: {name}": (DATA[name][:12], "e" * 12)}


def test_loose_frames_may_become_prepared_ones_and_other_shards_are_noted(tmp_path):
    prepared = DATA | {"frames": "f" * 64}
    assert changed_data(tmp_path, GIVEN, prepared, False) == {}
    later = replace(GIVEN, data=prepared)
    assert changed_data(tmp_path, later, DATA, False) == {}
    assert list(changed_data(tmp_path, later, DATA | {"frames": "0" * 64}, False)) == ["data: frames"]
    assert replace(GIVEN, data=DATA).then(later, "way").data == prepared


def test_other_versions_are_noted():
    assert changed_versions(GIVEN, {"jax": "1", "numpy": "3", "tensorflow": "4"}) == {
        "version of numpy": ("2", "3"),
        "version of tensorflow": (None, "4"),
    }


def test_a_checkpoint_of_another_run_is_refused_one_of_this_run_in_any_of_its_configs_is_not(tmp_path):
    config = Config()
    ways = [way(c, DATA) for c in (config, replace(config, seed=1), replace(config, num_epochs=3))]
    assert ways[0] == ways[2] != ways[1]  # how long it trains does not change what is trained
    assert way(config, DATA | {"keypoints": ""}) != ways[0]
    known = Inputs(DATA, None, {}).then(None, ways[0]).then(Inputs(DATA, None, {}, (ways[1],)), ways[0])
    assert known.ways == (ways[1], ways[0])
    for one in ways:
        assert check_checkpoint(tmp_path, 8, one, known, False) == {}
    assert check_checkpoint(tmp_path, 8, "", known, False) == check_checkpoint(tmp_path, 8, "x", None, False) == {}
    with pytest.raises(InputError, match="checkpoint of step 8 .* another run"):
        check_checkpoint(tmp_path, 8, "x", known, False)
    assert list(check_checkpoint(tmp_path, 8, "x", known, True)) == ["checkpoint of"]


def test_the_pretrained_file_of_the_first_start_is_remembered(tmp_path):
    (tmp_path / "weights").write_bytes(b"12345")
    digest = pretrained_hash(str(tmp_path / "weights"))
    assert digest == "5994471abb01112afcc18159f6cc74b4f511b99806da59b3caf5a9c173cacfc5"
    assert pretrained_hash("") is pretrained_hash(str(tmp_path / "none")) is None
    assert Inputs(DATA, None, {}).then(replace(GIVEN, pretrained=digest), "way").pretrained == digest


def test_what_results_need_of_the_machine_is_collected_once_and_before_the_steps():
    """Versions, git and hardware may fail to be found, and must not after the training. Read from the source."""
    calls = [node for node in ast.walk(ast.parse(inspect.getsource(train))) if isinstance(node, ast.Call)]
    lines = [(call.lineno, getattr(call.func, "attr", getattr(call.func, "id", ""))) for call in calls]
    collects = {"provenance", "versions", "git_commit", "hardware", "fingerprint", "steps", "_finish"}
    assert [name for _, name in sorted(lines) if name in collects] == ["provenance", "steps", "_finish"]
