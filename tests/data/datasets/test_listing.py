"""Listing of a data set's folders."""

import shutil

import pytest

from rgcn_jax.data.datasets.listing import FolderReader, Listing, is_litter, natural_order
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
    with pytest.raises(InputError, match=f"Set at {tmp_path} .*: c is missing"):
        folders.check()
    shutil.rmtree(tmp_path / "b")


@pytest.mark.parametrize(
    "name",
    ["thumbs.db", "Thumbs.db", ".DS_Store", "._a.jpg", "@eaDir", "__MACOSX", "a.jpg:Zone.Identifier", "Desktop.ini"],
)
def test_litter_is_no_part_of_any_data_set(tmp_path, name):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.jpg").touch()
    (tmp_path / "a" / name).touch() if "." in name else (tmp_path / "a" / name).mkdir()
    folders = FolderReader("Set", tmp_path)
    assert folders.frames("a") == ["1.jpg"]
    folders.check()
    assert not any(is_litter(other) for other in ("1.jpg", "eaDir", "a.db", "Zone.Identifier.jpg"))


def test_links_out_of_the_root_are_followed_where_they_are_meant(tmp_path):
    (tmp_path / "disk/a").mkdir(parents=True)
    (tmp_path / "disk/a/1.jpg").touch()
    (tmp_path / "root").mkdir()
    (tmp_path / "root/a").symlink_to(tmp_path / "disk/a")
    (tmp_path / "root/gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "disk/a/loop").symlink_to(tmp_path / "root")
    refused = FolderReader("Set", tmp_path / "root")
    assert refused.listing("a") == Listing([], [])
    with pytest.raises(InputError, match="--follow-links"):
        refused.check()
    followed = FolderReader("Set", tmp_path / "root", follow_links=True)
    assert followed.listing("a").files == ["1.jpg"]
    assert followed.images_below() == {"a": ["1.jpg"]}
    with pytest.raises(InputError, match="gone .*symbolic link"):
        followed.check()
