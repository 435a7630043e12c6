"""Listing of a data set's folders."""

import shutil

import pytest

from rgcn_jax.data.datasets.listing import FolderReader, Listing, natural_order
from rgcn_jax.errors import InputError


def test_a_listing_is_sorted_and_names_what_cannot_be_listed(tmp_path):
    for name in ("10.jpg", "9.jpg", "é.jpg", ".hidden"):
        (tmp_path / name).touch()
    (tmp_path / "b").mkdir()
    folders = FolderReader("Set", tmp_path)
    assert folders.listing("") == Listing(["b"], ["10.jpg", "9.jpg", "é.jpg"])
    assert natural_order(["10.jpg", "9.jpg", "b2_1", "b10_0", "b", "01", "1"]) == [
        "01", "1", "9.jpg", "10.jpg", "b", "b2_1", "b10_0",
    ]  # fmt: skip
    folders.check()
    assert folders.listing("c") == Listing([], [])
    with pytest.raises(InputError, match=f"Set at {tmp_path} is not as it must be: c is missing. Unpack it again"):
        folders.check()
    shutil.rmtree(tmp_path / "b")
