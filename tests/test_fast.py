"""The selection ``pytest -m fast``: the files that tests/fast.py lists, without their slow tests."""

from pathlib import Path

import pytest

from tests.fast import FAST

TESTS = Path(__file__).parent


@pytest.mark.parametrize("name", FAST)
def test_the_file_is_there(name):
    assert "def test_" in (TESTS / name).read_text(encoding="utf-8")


def test_it_is_of_the_listed_files_and_leaves_slow_tests_out(request):
    """Of all tests that this run has collected."""
    fast = [item for item in request.session.items if item.get_closest_marker("fast")]
    assert request.node in fast
    assert {item.path.relative_to(TESTS).as_posix() for item in fast} <= set(FAST)
    assert not [item.nodeid for item in fast if item.get_closest_marker("slow")]


def test_every_folder_with_tests_of_the_package_has_some():
    without = {"export", "launch", "parallel", "report"}  # these start processes, write for other programs or train
    folders = {path.parent.relative_to(TESTS).parts[:1] for path in TESTS.rglob("test_*.py")}
    assert {f[0] for f in folders if f} - {name.split("/")[0] for name in FAST} <= without
