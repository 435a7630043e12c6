"""Every data set that is read from a folder: what was written comes back, in order, and hostile folders do not."""

import contextlib
import os
import random

import numpy as np
import pytest

from rgcn_jax.data.datasets.registry import DATA_SETS
from rgcn_jax.data.keypoints import table as keypoint_table
from rgcn_jax.errors import InputError
from tests.data.datasets import layouts

# A folder of frames, one of lists, and one above: parts of each layout to spoil.
DEEP = {
    "mars": "bbox_test/{first}",
    "dukemtmc_vidreid": "gallery/{first}",
    "ilids_vid": "i-LIDS-VID/sequences/cam1/{first}",
    "prid2011": "prid_2011/multi_shot/cam_a/{first}",
    "ls_vid": "tracklet_train/{first}",
    "ccvid": "session1/{first}",
    "mevid": "bbox_test/{first}",
    "folder": "train/{first}",
}
LIST = {
    "mars": "info/train_name.txt",
    "ilids_vid": "train-test people splits/train_test_splits_ilidsvid.mat",
    "prid2011": "splits_prid2011.json",
    "ls_vid": "test/data/info_test.mat",
    "ccvid": "query.txt",
    "mevid": "track_test_info.txt",
}


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("layouts")
    return {layout: layouts.make(folder / layout, layout) for layout in layouts.NAMES}


@pytest.fixture(params=layouts.NAMES)
def layout(request):
    return request.param


@pytest.fixture
def copied(roots, layout, tmp_path):
    return layouts.copy(roots[layout], tmp_path / "copy")


def first_folder(root, layout):
    """A folder of a person, in the middle of which there are frames."""
    above = root / DEEP[layout].rpartition("/")[0]
    people = sorted(path for path in above.iterdir() if path.is_dir())
    return people[-1] if layout == "mars" else people[0]


def first_frame(folder):
    return min(path for path in folder.rglob("*") if path.suffix in (".jpg", ".png"))


def message(root, layout):
    with pytest.raises(InputError) as caught:
        DATA_SETS[layout].load(root)
    assert str(caught.value).count("\n") == 0
    return str(caught.value)


def tracklets_of(split):
    return {*split.train, *split.query, *split.gallery, *split.junk}


def test_all_layouts_that_are_read_can_be_written():
    assert set(layouts.NAMES) == set(DATA_SETS)


@pytest.mark.slow
def test_ids_cameras_lengths_and_order_come_back(roots, layout):
    written = layouts.plan(layout)
    split = DATA_SETS[layout].load(roots[layout])
    assert split.name == layout
    read = tracklets_of(split)
    walkers = layouts.WALKERS.split
    for tracklet in read:
        source, person_id = written[tracklet.frames]  # the very frames, in the order in which they were written
        assert (tracklet.person_id, tracklet.camera_id) == (person_id, source.camera_id)
        assert len(tracklet.frames) == len(source.frames)
        assert type(tracklet.person_id) is int
        assert not any("\\" in frame or frame.startswith("/") for frame in tracklet.frames)
    sources = {part: {written[t.frames][0] for t in getattr(split, part)} for part in ("train", "query", "gallery")}
    if layout in ("ilids_vid", "prid2011"):
        people = {part: {t.person_id for t in of_part} for part, of_part in sources.items()}
        assert people["query"] == people["gallery"]
        assert not people["train"] & people["query"]
        assert {t.camera_id for t in split.query} == {1}
        assert {t.camera_id for t in split.gallery} == {2}
        assert len(split.train) == 8
        assert len(read) == 16
        return
    distractors = {t for t in walkers.gallery if t.person_id == 0}
    assert distractors
    gallery = {
        "mars": set(walkers.gallery),
        "dukemtmc_vidreid": set(walkers.gallery),
        "ls_vid": set(walkers.gallery) - distractors - set(walkers.query),
        "ccvid": set(walkers.gallery) - distractors - set(walkers.query),
        "mevid": set(walkers.gallery) - distractors - set(walkers.query),
        "folder": set(walkers.gallery) - set(walkers.query),
    }
    assert sources["train"] == set(walkers.train)
    assert sources["gallery"] == gallery[layout]
    assert sources["query"] <= set(walkers.query)
    assert len(split.query) == (4 if layout == "dukemtmc_vidreid" else 8)
    assert len(split.junk) == (1 if layout in ("mars", "folder") else 0)
    assert len(split.train) == len(sources["train"])
    assert len(split.gallery) == len(sources["gallery"])


def test_keypoints_come_back_to_the_pixel(roots, layout):
    written = layouts.plan(layout)
    split = DATA_SETS[layout].load(roots[layout])
    table = keypoint_table.load(roots[layout] / "openpose", split, tracklets_of(split))
    for tracklet in tracklets_of(split):
        expected = layouts.WALKERS.keypoints(written[tracklet.frames][0])
        # In pixels and confidences, which the files hold to four places.
        height, width = layouts.size(layout)
        np.testing.assert_allclose(table.of(tracklet) * (width, height, 1), expected * (width, height, 1), atol=1e-4)


def test_the_order_in_which_a_disk_lists_does_not_matter(roots, layout, monkeypatch):
    expected = DATA_SETS[layout].load(roots[layout])
    scandir, listdir, rng = os.scandir, os.listdir, random.Random(0)

    @contextlib.contextmanager
    def shuffled(path):
        with scandir(path) as entries:
            found = list(entries)
        rng.shuffle(found)
        yield iter(found)

    def shuffled_names(path="."):
        found = listdir(path)
        rng.shuffle(found)
        return found

    monkeypatch.setattr(os, "scandir", shuffled)
    monkeypatch.setattr(os, "listdir", shuffled_names)
    assert DATA_SETS[layout].load(roots[layout]) == expected


@pytest.mark.parametrize("what", ["person", "frame", "nowhere"])
def test_a_link_out_of_the_root_is_refused(copied, layout, what, tmp_path):
    folder = first_folder(copied, layout)
    frame = first_frame(folder)
    if what == "person":
        shown = folder.relative_to(copied)
        folder.rename(tmp_path / "elsewhere")
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        shown = frame.relative_to(copied)
        frame.rename(tmp_path / "elsewhere")
        frame.symlink_to(tmp_path / "elsewhere" if what == "frame" else copied / "nothing")
    found = message(copied, layout)
    assert shown.as_posix() in found
    if what == "nowhere":
        assert "is a symbolic link that leads nowhere" in found
    else:
        assert f"is or lies in a symbolic link that leads out of the root, to {tmp_path / 'elsewhere'}" in found
        assert "is not followed: put the files themselves there" in found


def test_a_link_out_of_the_root_high_up_is_refused(copied, layout, tmp_path):
    top = copied / DEEP[layout].split("/")[0]
    top.rename(tmp_path / "elsewhere")
    top.symlink_to(tmp_path / "elsewhere")
    assert "leads out of the root" in message(copied, layout)


@pytest.mark.parametrize("linked", [False, True])
def test_a_pipe_is_not_waited_for(copied, layout, linked):
    frame = first_frame(first_folder(copied, layout))
    frame.unlink()
    if linked:
        os.mkfifo(copied / "pipe")
        frame.symlink_to(copied / "pipe")
    else:
        os.mkfifo(frame)
    shown = frame.relative_to(copied).as_posix()
    assert f"{shown} is a pipe, a socket or a device: remove it" in message(copied, layout)


@pytest.mark.parametrize("layout", LIST)
def test_a_list_that_is_a_pipe_is_not_waited_for(copied, layout):
    (copied / LIST[layout]).unlink()
    os.mkfifo(copied / LIST[layout])
    found = message(copied, layout)
    assert LIST[layout] in found
    assert "a pipe, a socket or a device" in found or "there is no file" in found


@pytest.mark.parametrize("layout", LIST)
def test_a_list_that_is_a_link_out_of_the_root_is_refused(copied, layout, tmp_path):
    file = copied / LIST[layout]
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert f"{LIST[layout]} is or lies in a symbolic link that leads out of the root" in message(copied, layout)


def test_links_within_the_root_and_a_root_that_is_a_link_are_followed(copied, layout, tmp_path):
    expected = {t.frames for t in tracklets_of(DATA_SETS[layout].load(copied))}
    folder = first_folder(copied, layout)
    (copied / "kept").mkdir()
    folder.rename(copied / "kept" / folder.name)
    folder.symlink_to(copied / "kept" / folder.name)
    (tmp_path / "link").symlink_to(copied)
    assert {t.frames for t in tracklets_of(DATA_SETS[layout].load(tmp_path / "link"))} == expected


def test_a_name_that_is_not_utf_8_is_refused(copied, layout):
    frame = first_frame(first_folder(copied, layout))
    with open(os.fsencode(frame.parent) + b"/\xff\xfe.jpg", "wb"):
        pass
    parent = frame.parent.relative_to(copied).as_posix()
    assert f"{parent} holds \\xff\\xfe.jpg, a name that is not UTF-8: rename it" in message(copied, layout)


@pytest.mark.parametrize("name", ["a\n.jpg", "a\x1b[31m.jpg", "a\x9b.jpg", "a\u2028.jpg"])
def test_a_name_with_a_control_character_is_refused(copied, layout, name):
    frame = first_frame(first_folder(copied, layout))
    (frame.parent / name).touch()
    parent = frame.parent.relative_to(copied).as_posix()
    assert f"{parent} holds {name!r}, a name with a control character: rename it" in message(copied, layout)


def test_what_file_managers_leave_behind_is_ignored(copied, layout):
    expected = DATA_SETS[layout].load(copied)
    folder = first_folder(copied, layout)
    for place in (copied, folder.parent, folder, first_frame(folder).parent):
        (place / ".DS_Store").touch()
        (place / "Thumbs.db").touch()
    assert DATA_SETS[layout].load(copied) == expected


def test_a_renamed_folder_is_named_with_what_to_do(copied, layout):
    top = DEEP[layout].split("/")[0]
    (copied / top).rename(copied / "renamed")
    if layout == "folder":  # any of its parts may be absent, and is for the caller to miss
        assert not DATA_SETS[layout].load(copied).train
        return
    found = message(copied, layout)
    assert top in found
    assert str(copied) in found
    assert "unpack" in found.lower()


@pytest.mark.parametrize("layout", sorted(set(layouts.NAMES) - {"folder"}))  # whose folders alone say who it is
def test_a_renamed_person_is_noticed(copied, layout):
    folder = first_folder(copied, layout)
    folder.rename(folder.with_name(folder.name[:-2] + "77"))
    found = message(copied, layout)
    assert folder.name in found or folder.name[:-2] + "77" in found


def test_the_folder_above_or_below_is_no_root_but_a_hint(copied, layout, tmp_path):
    assert f"But {copied} has all of it: give that folder as the root." in message(tmp_path, layout)
    below = copied / DEEP[layout].split("/")[0]
    if layout not in ("ilids_vid", "prid2011"):
        assert f"But {copied} has all of it" in message(below, layout)
    assert f"{copied / 'nowhere'} does not exist; expected the folder that holds" in message(copied / "nowhere", layout)


def test_an_emptied_folder_is_named(copied, layout):
    folder = first_folder(copied, layout)
    frame = first_frame(folder)
    for file in list(frame.parent.iterdir()):
        file.unlink()
    parent = frame.parent.relative_to(copied).as_posix()
    assert parent in message(copied, layout)


@pytest.mark.parametrize("layout", ["dukemtmc_vidreid", "ilids_vid", "prid2011", "folder"])
def test_all_that_is_wrong_is_counted_and_the_first_of_it_named(copied, layout):
    folders = sorted({frame.parent for frame in first_folder(copied, layout).parent.rglob("*.[jp][pn]g")})
    for folder in folders[:5]:
        (folder / "notes.txt").touch()
    found = message(copied, layout)
    assert "holds notes.txt, which is no frame" in found
    assert "; and 2 more. " in found
    assert found.count("notes.txt") == 3
