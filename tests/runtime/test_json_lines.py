"""JSON lines through kills and full disks: whole records stay, torn ones go, links are not followed."""

import json
import os
import resource

import pytest

from rgcn_jax.errors import InputError
from rgcn_jax.runtime.json_lines import append_json_line, append_record, open_to_append, read_json_lines
from rgcn_jax.runtime.provenance import CHANGES_FILE, note_changes, noted_changes


def records(path):
    return [record for record, _ in read_json_lines(path)[0]]


def test_no_file_has_no_records(tmp_path):
    assert read_json_lines(tmp_path / "x") == ([], 0)


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_torn_tail_is_dropped_and_the_next_record_begins_a_line(cut, tmp_path):
    path = tmp_path / "x.jsonl"
    append_json_line(path, {"a": 1})
    append_json_line(path, {"bb": 2})
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert records(path) == [{"a": 1}]
    append_json_line(path, {"c": 3})
    assert records(path) == [{"a": 1}, {"c": 3}]
    assert [json.loads(line) for line in path.read_text().splitlines()] == records(path)


def test_changes_that_did_not_fit_on_the_disk_are_noted_by_the_next_start(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30, hard))
    try:
        with pytest.raises(InputError, match=r"config_changes.jsonl .*\(File too large\)"):
            note_changes(tmp_path, 5, {"loss.margin": (0.3, 0.5)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / CHANGES_FILE).stat().st_size == 30
    assert noted_changes(tmp_path) == []
    for _ in range(2):  # the second start found the first one's record
        note_changes(tmp_path, 5, {"loss.margin": (0.3, 0.5), "model.stage_sizes": ((1,), (1, 1))})
    assert noted_changes(tmp_path) == [
        {"after_step": 5, "changes": {"loss.margin": [0.3, 0.5], "model.stage_sizes": [[1], [1, 1]]}}
    ]


def test_a_link_is_not_written_through(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "x").symlink_to(tmp_path / "victim")
    with pytest.raises(InputError, match="cannot be written"):
        append_json_line(tmp_path / "x", {"a": 1})
    with pytest.raises(OSError, match="symbolic link"):
        read_json_lines(tmp_path / "x")
    assert (tmp_path / "victim").read_text() == "precious"
    os.unlink(tmp_path / "x")
    append_json_line(tmp_path / "x", {"a": 1})
    assert records(tmp_path / "x") == [{"a": 1}]


@pytest.mark.parametrize("size", [0, 1, 2**16 - 1, 2**16, 2**16 + 1, 200_000])
@pytest.mark.parametrize("before", [b"", b'{"a": 1}\n'])
def test_a_torn_end_of_any_length_is_cut_off(before, size, tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_bytes(before + b"x" * size)
    descriptor = open_to_append(file)
    append_record(descriptor, {"b": 2})
    os.close(descriptor)
    assert file.read_bytes() == before + b'{"b": 2}\n'
