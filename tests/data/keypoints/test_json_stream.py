import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rgcn_jax.data.keypoints import json_stream
from rgcn_jax.data.keypoints.json_stream import entries
from rgcn_jax.data.keypoints.numbers import LARGEST_FRAME
from rgcn_jax.errors import InputError

QUICK = settings(max_examples=150, deadline=None, derandomize=True)
_any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(1 - 2**63, 2**63 - 1)  # what yajl reads; beyond, it refuses
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """One file for all examples, read five bytes at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_CHUNK", 5)
        yield tmp_path_factory.mktemp("json") / "f.json"


@QUICK
@given(
    contents=st.lists(_any, max_size=6) | st.dictionaries(st.text(max_size=5), _any, max_size=6), spaced=st.booleans()
)
def test_the_entries_are_those_of_the_standard_library(file, contents, spaced):
    file.write_text(json.dumps(contents, indent=spaced or None, ensure_ascii=spaced), "utf-8")
    expected = [(None, value) for value in contents] if isinstance(contents, list) else list(contents.items())
    assert json.dumps(list(entries(file))) == json.dumps(expected)


@QUICK
@given(
    st.binary(max_size=100) | st.sampled_from("[{").flatmap(lambda c: st.binary(max_size=60).map(c.encode().__add__))
)
def test_any_bytes_are_read_or_refused_as_by_the_standard_library(file, text):
    file.write_bytes(text)
    try:
        expected = json.loads(text.decode("utf-8-sig"))
    except ValueError:
        expected = None
    try:
        found = list(entries(file))
    except InputError:
        assert not isinstance(expected, list | dict)
    else:
        assert isinstance(expected, list | dict)
        assert len(found) >= len(expected)  # a key may be there twice


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"3", "is neither a JSON list nor an object"),
        (b"[1 2]", "at entry 1"),
        (b"[1, 2", "is not JSON or is truncated, at entry 2"),
        (b"[1,]", "at entry 1"),
        (b"[1]x", "trailing garbage"),
        (b'{"a" 1}', "colon"),
        (b"{1: 2}", "must be a string"),
        (b'{"a": {"b": 1}', "truncated, at entry 1"),
        (b'[{"a": {"b": 1, "b": 2}}]', "the key 'b'"),
        (b'["\xff"]', "UTF8"),
        (b"[NaN]", "at entry 1"),
        (b"[" * 100_000, "is nested too deeply in entry 1"),
        (b"[" * 100_000 + b"]" * 100_000, "is nested too deeply in entry 1"),
        (b"[" + b"1" * 5000 + b"]", "overflow"),
    ],
)
def test_what_is_no_json(tmp_path, text, reason):
    (tmp_path / "f").write_bytes(text)
    with pytest.raises(InputError) as caught:
        list(entries(tmp_path / "f"))
    assert reason in str(caught.value)


def test_an_entry_without_end_is_not_read_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "_CHUNK", 2**16)
    with (tmp_path / "f").open("wb") as file:
        file.write(b'[{"image_id": "' + b"a" * 11 * 2**20)
        file.truncate(2**34)  # 16 GiB of zeros that take no room on the disk
    with pytest.raises(InputError, match="entry is larger than 10 MiB"):
        list(entries(tmp_path / "f"))
    assert LARGEST_FRAME == 10 * 2**20
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\)"):
        list(entries(tmp_path))
