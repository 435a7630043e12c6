"""CCVID and MEVID: clothes come back from the lists, and lists that do not fit are named."""

import numpy as np
import pytest

from rgcn_jax.data.datasets import ccvid, mevid
from rgcn_jax.data.datasets.registry import DATA_SETS
from rgcn_jax.data.prepared.reader import index_arrays, read_index
from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.protocol import scorable_protocols, test_tracklets
from rgcn_jax.walkers import WalkersSpec, generate
from rgcn_jax.walkers.layouts import LAYOUTS
from rgcn_jax.walkers.write import write

CHANGING = generate(
    WalkersSpec(
        train_identities=2,
        test_identities=2,
        group_size=2,
        cameras=2,
        outfits_per_identity=2,
        min_frames=1,
        max_frames=2,
        distractors=0,
        junk=0,
    )
)


@pytest.fixture(scope="module", params=["ccvid", "mevid"])
def written(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param) / "data"
    write(CHANGING, root, request.param, 16, 8)
    return request.param, root


def test_clothes_come_back_and_their_protocol_applies(written, tmp_path):
    layout, root = written
    sources = {frames: tracklet for tracklet, frames in LAYOUTS[layout](CHANGING).files}
    split = DATA_SETS[layout].load(root)
    tracklets = [*split.train, *split.query, *split.gallery]
    assert [t.clothes_id for t in tracklets] == [sources[t.frames].clothes_id for t in tracklets]
    assert {t.clothes_id for t in tracklets} == {1, 2}
    assert "clothes_changed" in scorable_protocols(*test_tracklets(split))[0]
    np.savez(tmp_path / "index.npz", allow_pickle=False, **index_arrays(tracklets, {1: split}))
    assert read_index(tmp_path / "index.npz")[0] == tuple(tracklets)


def test_cameras_of_session_3_are_others():
    lines = ccvid.parse_list(b"session3/001_10\t001\tu1\r\nsession1/001_10 001 u0\n", "train.txt")
    assert [(line.person_id, line.camera_id, line.clothes) for line in lines] == [(1, 22, "u1"), (1, 10, "u0")]


@pytest.mark.parametrize(
    "line", ["session1/001_01 001", "session1/001_01 002 u0", "../001_01 001 u0", "session1/001_01/x 001 u0", ""]
)
def test_a_line_of_ccvid_of_another_form_is_refused(line):
    with pytest.raises(InputError, match="line 1|names no tracklet"):
        ccvid.parse_list(line.encode(), "train.txt")


ROWS = {
    "beyond the names": ("0 9 1 0 1", "does not lie within"),
    "another person": ("0 1 2 0 1", "mixes persons: line 1 is 0001O000C001T000F00000"),
    "another outfit": ("0 1 1 3 1", "mixes outfits"),
    "two tracklets": ("0 2 1 0 1", "mixes tracklets: line 3 is"),
    "another row's names": ("0 1 1 0 1\n1 1 1 0 1", "row 1 .* shares lines with the row of lines 1 to 2"),
    "backwards": ("3 4 1 0 1", "is not in temporal order"),
    "a column less": ("0 1 1 0", "5 whole numbers"),
    "a fraction": ("0 1.5 1 0 1", "5 whole numbers"),
    "no camera": ("0 1 1 0 0", "both count from 1"),
}


@pytest.mark.parametrize("case", ROWS)
def test_a_row_of_mevid_that_is_no_tracklet_is_named(case, tmp_path):
    for folder in ("bbox_train", "bbox_test"):
        (tmp_path / folder).mkdir()
    names = [f"0001O000C001T{t:03}F{f:05}.jpg" for t, f in ((0, 0), (0, 1), (1, 0), (2, 1), (2, 0))]
    (tmp_path / "train_name.txt").write_text("\n".join(names))
    (tmp_path / "track_train_info.txt").write_text(ROWS[case][0])
    with pytest.raises(InputError, match=ROWS[case][1]):
        mevid.load(tmp_path)


def test_absent_frames_and_queries_beyond_the_rows_are_named(tmp_path):
    root = tmp_path / "data"
    write(CHANGING, root, "mevid", 16, 8)
    first = (root / "test_name.txt").read_text().split()[0]
    frame = root / "bbox_test" / first[:4] / first
    frame.unlink()
    with pytest.raises(InputError, match=f"1 of the .* frames .* absent; .*{first}"):
        mevid.load(root)
    frame.with_suffix(".JPG").touch()
    assert any(str(frame.with_suffix(".JPG")).endswith(t.frames[0]) for t in mevid.load(root).gallery)
    (root / "query_IDX.txt").write_text("99\n")
    with pytest.raises(InputError, match=r"is row 99 of track_test_info.txt, which has rows 0 to 7"):
        mevid.load(root)
