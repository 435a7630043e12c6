"""Part files of an embedding that are not what was written: refused or left out, and never read for ever."""

import shutil

import numpy as np
import pytest

from rgcn_jax.embedding_parts import EmbeddingParts
from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.embed import TrackletFeature

PLAN = {"model": "a"}


@pytest.fixture
def parts(tmp_path):
    made = EmbeddingParts(tmp_path / "f.npz", PLAN)
    for start in (0, 3):
        made.add([TrackletFeature(start + i, np.full(3, i, np.float32), np.ones(2, np.float32)) for i in range(3)])
    return tmp_path / ".f.npz.parts"


def test_they_are_found_again_in_order(parts, tmp_path):
    found = EmbeddingParts(tmp_path / "f.npz", PLAN)
    assert found.done == 6
    assert [feature.index for feature in found.read()] == list(range(6))


@pytest.mark.parametrize("name", ["00000006-00000006", "00000006-00000003", "00000006-x", "²-3", "6-9", "-"])
def test_a_name_that_is_none_of_ours_is_left_out(name, parts, tmp_path):
    """The first leads back to itself: it was followed for ever."""
    shutil.copy(parts / "00000000-00000003.npz", parts / f"{name}.npz")
    assert EmbeddingParts(tmp_path / "f.npz", PLAN).done == 6


@pytest.mark.parametrize("rows", [2, 4])
def test_another_number_of_rows_would_shift_all_that_follow(rows, parts, tmp_path):
    appearance, pose = np.ones((rows, 3), np.float32), np.ones((rows, 2), np.float32)
    np.savez(parts / "00000000-00000003.npz", appearance=appearance, pose=pose)
    with pytest.raises(InputError, match=r"00000000-00000003\.npz is damaged"):
        list(EmbeddingParts(tmp_path / "f.npz", PLAN).read())
