"""Whatever a list, a name or a file of tracks holds: it is read, or refused by an ``InputError``, and nothing else."""

import json
import os

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.io import savemat

from rgcn_jax.data import mot
from rgcn_jax.data.datasets import custom, dukemtmc_vidreid, ilids_vid, ls_vid, mars, prid2011
from rgcn_jax.data.datasets.listing import check_relative, natural_order
from tests.fuzzing import refused_or_read, short


def near(text):
    """Arbitrary text, and text that is nearly right."""
    pieces = st.lists(
        st.sampled_from([*text, "0", "-1", "..", "/", " ", "_", "\0", "\ud800", "٣", "9" * 30]), max_size=40
    )
    return st.one_of(st.text(max_size=40), pieces.map("".join), st.just(text))


def encoded(text):
    return text.encode("utf-8", "surrogatepass")


@pytest.mark.slow
@short
@given(near("1,7,10,4,10,20,1\n"), st.binary(max_size=20))
@example("1,7,10,4,10,20,1", b"")
def test_track_files(text, noise):
    with refused_or_read():
        boxes, _ = mot.parse_tracks(encoded(text) + noise, "tracks.txt")
        assert all(b.frame >= 1 and b.track >= 1 and b.width > 0 and b.height > 0 for b in boxes)


@short
@given(near("tracklet_test/0001/0001_1 3\n"), st.binary(max_size=20))
@example("tracklet_test/../x 3", b"")
def test_lists_of_tracklets(text, noise):
    with refused_or_read():
        for line in ls_vid.parse_list(encoded(text) + noise, "list.txt", "tracklet_test"):
            assert line.folder.split("/")[0] == "tracklet_test"
            assert ".." not in line.folder.split("/")
            assert "/" not in line.prefix
            assert line.prefix != ".."


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12), st.just("person_0001")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(["train", "test", "a"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@short
@given(st.one_of(json_values.map(json.dumps), st.text(max_size=40), near('[{"train":["person_0001"],"test":[]}]')))
def test_splits_of_prid(text):
    with refused_or_read():
        for train, test in prid2011.parse_splits(encoded(text), "splits.json"):
            assert not set(train) & set(test)


@short
@given(st.text(max_size=30))
def test_relative_paths(path):
    if not check_relative(path):
        assert not path.startswith("/")
        assert not {"", ".", ".."} & set(path.split("/"))


@short
@given(st.lists(st.text(max_size=12), max_size=8))
def test_natural_order(names):
    ordered = natural_order(names)
    assert sorted(ordered) == sorted(names)
    assert natural_order(reversed(names)) == ordered


@pytest.fixture(scope="module")
def mars_lists(tmp_path_factory):
    info = tmp_path_factory.mktemp("fuzz") / "info"
    info.mkdir()
    for part in ("train", "test"):
        savemat(info / f"tracks_{part}_info.mat", {f"track_{part}_info": np.array([[1, 1, 1, 1]])})
    savemat(info / "query_IDX.mat", {"query_IDX": np.array([[1]])})
    (info / "test_name.txt").write_text("0001C1T0001F001.jpg\n")
    return info


@short
@given(near("0001C1T0001F001.jpg\n"), st.binary(max_size=20))
@example("0001C1T0001F001.jpg\n", b"")
def test_name_files_of_mars(mars_lists, text, noise):
    (mars_lists / "train_name.txt").write_bytes(encoded(text) + noise)
    with refused_or_read():
        assert mars.load(mars_lists.parent, check_files=False).train[0].frames[0].startswith("bbox_train/0001/0001C1")


TREES = {
    dukemtmc_vidreid: [
        "train/0001/1/0001_C6_F0099_X30823.jpg",
        "query/0002/1/0002_C1_F0001_X1.jpg",
        "gallery/0002/1/0002_C2_F0001_X1.jpg",
    ],
    ilids_vid: [
        f"i-LIDS-VID/sequences/cam{c}/person00{p}/cam{c}_person00{p}_00317.png" for p in (1, 2) for c in (1, 2)
    ],
    prid2011: [f"prid_2011/multi_shot/cam_{c}/person_000{p}/0001.png" for p in (1, 2) for c in "ab"],
    ls_vid: [
        "tracklet_train/0001/0001_1_01_1.jpg",
        "tracklet_test/0001/0001_1_01_1.jpg",
        "tracklet_test/0001/0001_2_02_1.jpg",
    ],
    custom: ["train/1/1/1/1.jpg", "query/2/1/1/1.jpg", "gallery/2/2/1/1.jpg"],
}


def write_lists(root):
    """Those of iLIDS-VID, PRID2011 and LS-VID."""
    for lists in ("train-test people splits", "list_sequence", "test/data"):
        (root / lists).mkdir(parents=True)
    savemat(root / "train-test people splits/train_test_splits_ilidsvid.mat", {"ls_set": np.array([[2, 1]])})
    (root / "splits_prid2011.json").write_text('[{"train": ["person_0001"], "test": ["person_0002"]}]')
    (root / "list_sequence/list_seq_train.txt").write_text("tracklet_train/0001/0001_1 1\n")
    (root / "list_sequence/list_seq_test.txt").write_text("tracklet_test/0001/0001_1 1\ntracklet_test/0001/0001_2 1\n")
    savemat(root / "test/data/info_test.mat", {"query": np.array([[1]])})


@pytest.mark.parametrize("module", TREES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_names_of_frames(module, tmp_path):
    """Any name that a disk may hold, beside a frame, beside a tracklet's folder and beside a person's."""
    for file in TREES[module]:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    write_lists(tmp_path)
    frame = tmp_path / TREES[module][0]
    assert len(module.load(tmp_path).train) > 0

    @short
    @given(near(frame.name).filter(lambda name: name not in ("", ".", "..") and not {"/", "\0"} & set(name)))
    def load(name):
        raw = name.encode("utf-8", "surrogatepass")[:200]
        for place in list(frame.parents)[:3]:
            path = bytes(place) + b"/" + raw
            if os.path.lexists(path):
                continue
            for make, remove in ((os.mknod, os.remove), (os.mkdir, os.rmdir)):
                make(path)
                try:
                    with refused_or_read():
                        read = {f for t in module.load(tmp_path).train for f in t.frames}
                        assert TREES[module][0] in read
                        assert all((tmp_path / f).is_file() for f in read)
                finally:
                    remove(path)

    load()
