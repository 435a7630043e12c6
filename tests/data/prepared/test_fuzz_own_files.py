"""Whatever the files hold that the commands write for themselves: they are read, or refused by an ``InputError``."""

import json
import os
import shutil

import jaxtyping
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rgcn_jax.data.prepared import format as prepared_format
from rgcn_jax.data.prepared.reader import open_prepared
from rgcn_jax.errors import InputError
from rgcn_jax.pose_detection.chunks import Chunks
from rgcn_jax.runtime.user_files import file_hash
from tests.data.prepared import preparing
from tests.fuzzing import refused_or_read, short

DEEP = b"[" * 100_000
NUMBERS = st.one_of(st.none(), st.booleans(), st.integers(-3, 2**70), st.floats(), st.text(max_size=5))
VALUES = st.recursive(
    NUMBERS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner)),
    max_leaves=5,
)
TEXTS = st.one_of(st.binary(max_size=60), VALUES.map(lambda value: json.dumps(value).encode()))


@pytest.fixture(autouse=True)
def as_a_user_has_it():
    """Without the suite's checks of types, which refuse what the program itself should."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of a prepared data set."""
    root = preparing.write(tmp_path_factory.mktemp("own") / "MARS")
    out = tmp_path_factory.mktemp("prepared")
    assert preparing.run_here(root, f"--out={out}") == 0
    return out / "mars_pose" / prepared_format.VERSION


def opened(folder):
    with refused_or_read():
        assert prepared_format.find(folder, "mars") == folder
        found = open_prepared(folder)
        assert all(len(t.frames) for t in found.tracklets)
        assert found.of(found.tracklets[0]).dtype == np.float32


def save_index(folder, arrays):
    """The index with its hash in the marker, so that what it holds is read."""
    np.savez(folder / prepared_format.INDEX, **arrays)
    marker = json.loads((folder / prepared_format.MARKER).read_text())
    marker["hashes"][prepared_format.INDEX] = file_hash(folder / prepared_format.INDEX)
    (folder / prepared_format.MARKER).write_text(json.dumps(marker))


@short
@given(TEXTS)
@example(DEEP)
def test_the_marker(folder, text):
    spoilt = shutil.copytree(folder, folder.with_name("marker"), dirs_exist_ok=True)
    (spoilt / prepared_format.MARKER).write_bytes(text)
    opened(spoilt)


@pytest.mark.parametrize("field", ["file", "frames", "size"])
@pytest.mark.parametrize("value", [None, "12", [1], {}, 1.5, True, "a" * 5000, "mars_pose-x/../../stolen"])
def test_a_field_of_a_shard_that_is_something_else(folder, field, value):
    marker = json.loads((folder / prepared_format.MARKER).read_text())
    marker["shards"][0][field] = value
    spoilt = shutil.copytree(folder, folder.with_name("shard"), dirs_exist_ok=True)
    (spoilt / prepared_format.MARKER).write_text(json.dumps(marker))
    with pytest.raises(InputError, match="cannot be read|is damaged"):
        open_prepared(spoilt)


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([1.5, np.nan]), np.ones((2, 2), int)])
def test_ids_that_are_no_numbers(folder, array):
    spoilt = shutil.copytree(folder, folder.with_name("ids"), dirs_exist_ok=True)
    with np.load(folder / prepared_format.INDEX) as stored:
        save_index(spoilt, {**stored, "person_id": array})
    with pytest.raises(InputError, match="is damaged .*person_id are no whole numbers"):
        open_prepared(spoilt)


def test_a_pipe_is_not_waited_for(folder):
    for name in (prepared_format.KEYPOINTS, prepared_format.INDEX):
        spoilt = shutil.copytree(folder, folder.with_name(f"pipe of {name}"))
        (spoilt / name).unlink()
        os.mkfifo(spoilt / name)
        with pytest.raises(InputError, match="is damaged"):
            open_prepared(spoilt)


@short
@given(st.data())
def test_a_field_of_the_marker(folder, data):
    marker = json.loads((folder / prepared_format.MARKER).read_text())
    place = data.draw(st.sampled_from([marker, marker["shards"][0]]))
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(VALUES)
    spoilt = shutil.copytree(folder, folder.with_name("field"), dirs_exist_ok=True)
    (spoilt / prepared_format.MARKER).write_text(json.dumps(marker))
    opened(spoilt)


@short
@given(st.sampled_from(["names", "num_frames", "person_id", "train_1"]), st.binary(max_size=24), st.booleans())
def test_an_array_of_the_index(folder, name, noise, whole):
    spoilt = shutil.copytree(folder, folder.with_name("index"), dirs_exist_ok=True)
    with np.load(folder / prepared_format.INDEX) as stored:
        arrays = dict(stored)
    if whole:
        arrays[name] = np.frombuffer(noise, np.int8).astype(arrays[name].dtype)
    else:
        data = bytearray(arrays[name].tobytes())
        data[: len(noise)] = noise[: len(data)]
        arrays[name] = np.frombuffer(bytes(data), arrays[name].dtype)
    save_index(spoilt, arrays)
    opened(spoilt)


@short
@given(TEXTS)
@example(DEEP)
def test_the_settings_of_an_unfinished_detection(tmp_path, text):
    parts = tmp_path / "k.npz.parts"
    parts.mkdir(exist_ok=True)
    (parts / "settings.json").write_bytes(text)
    with pytest.raises(InputError, match="contains unfinished work with"):
        Chunks(tmp_path / "k.npz", {"model": "a"})
