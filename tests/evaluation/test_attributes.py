import csv
import itertools

import numpy as np
import pytest

from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.attributes import (
    OUTFIT,
    group_labels,
    look_alike_queries,
    rank_by_attributes,
    read_attributes,
    shared_outfits,
)
from rgcn_jax.evaluation.protocol import PROTOCOLS, Roles
from rgcn_jax.types import Embeddings

NAMES = ["Tops.c", "Bottoms.c", "hat", "Tops.l", "Bottoms.l", "Bottoms.t"]


def tracklets(seed=0, persons=12, each=6):
    """Frames' names ascend within person and camera; distractors and junk are not annotated."""
    rng = np.random.default_rng(seed)
    ids = np.concatenate([np.repeat(np.arange(1, persons + 1), each), [0, 0, -1]]).astype(np.int32)
    cameras = rng.integers(1, 4, len(ids)).astype(np.int32)
    frames = [
        f"{person:04d}/{person:04d}C{camera}T{n:04d}F001.jpg"
        for n, (person, camera) in enumerate(zip(ids, cameras, strict=True))
    ]
    order = rng.permutation(len(ids))
    query = (ids > 0) & (rng.random(len(ids)) < 0.4)
    return [frames[i] for i in order], ids[order], cameras[order], Roles(query[order], ids[order] >= 0, ids[order] < 0)


def annotate(path, frames, ids, cameras, seed=0, distinct=2):
    """Writes made-up attributes, with numbers of their own and of further persons; returns them by row, -1 for none."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, distinct, (len(ids), len(NAMES)))
    values[ids <= 0] = -1
    number = itertools.count(7, 3)
    lines = [
        [ids[row], cameras[row], next(number), *values[row]]
        for row in sorted(range(len(ids)), key=lambda row: frames[row])
        if ids[row] > 0
    ]
    lines.append([99, 1, 1, *[0] * len(NAMES)])
    rng.shuffle(lines)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["person-id", "camera", "tracklet", *NAMES], *lines])
    return values


def test_lines_are_found_by_person_camera_and_order(tmp_path):
    frames, ids, cameras, _ = tracklets()
    values = annotate(tmp_path / "a.csv", frames, ids, cameras)
    found = read_attributes(tmp_path / "a.csv", frames, ids, cameras)
    assert found.names == tuple(NAMES)
    np.testing.assert_array_equal(found.values, values)
    np.testing.assert_array_equal(found.annotated, ids > 0)


@pytest.mark.parametrize("seed", range(3))
def test_look_alikes_equal_the_loop(tmp_path, seed):
    frames, ids, cameras, roles = tracklets(seed)
    values = annotate(tmp_path / "a.csv", frames, ids, cameras, seed)
    found = read_attributes(tmp_path / "a.csv", frames, ids, cameras)
    columns = [NAMES.index(name) for name in OUTFIT]
    worn = {}
    for person in set(ids[ids > 0].tolist()):
        own = values[ids == person][:, columns]
        worn[person] = tuple(min(set(c.tolist()), key=lambda v: (-c.tolist().count(v), v)) for c in own.T)
    gallery = [g for g in range(len(ids)) if roles.gallery[g] and ids[g] > 0]
    queries = np.flatnonzero(roles.query)
    same_outfit = [any(ids[g] != ids[q] and worn[ids[g]] == worn[ids[q]] for g in gallery) for q in queries]
    all_equal = [any(ids[g] != ids[q] and (values[g] == values[q]).all() for g in gallery) for q in queries]
    outfits = found.outfits(ids)
    assert outfits is not None
    np.testing.assert_array_equal(look_alike_queries(outfits, ids, roles), same_outfit)
    np.testing.assert_array_equal(look_alike_queries(found.combinations(), ids, roles), all_equal)
    assert 0 < sum(all_equal) < len(queries)


def test_a_person_of_the_gallery_alone_is_its_own_look_alike_of_nobody():
    """Persons 1 and 2 share the label; 3 has another; 4 shares it but is not in the gallery."""
    ids = np.array([1, 2, 3, 4, 1, 3])
    labels = np.array([5, 5, 6, 6, 5, 6])
    gallery = np.array([1, 1, 1, 0, 0, 0], bool)
    roles = Roles(np.array([0, 0, 0, 1, 1, 1], bool), gallery, np.zeros(6, bool))
    assert look_alike_queries(labels, ids, roles).tolist() == [True, True, False]


def test_groups_of_walkers():
    labels = group_labels(np.array([4, 2, 9, 7, -1]), [(4, 7), (2, 1)])
    assert labels.tolist() == [0, 1, -1, 0, -1]


def test_outfits_that_are_shared_within_a_group():
    ids, clothes = np.array([1, 1, 2, 3, 0]), np.array([1, 2, 2, 1, 0])
    found = shared_outfits([[1, 2], [3]], ids, clothes)
    assert found[1] == found[2]
    assert len({found[0], found[1], found[3]}) == 3
    assert found[4] == -1
    for wrong in ("12", [1], [["1"]], {"a": 1}):
        with pytest.raises(InputError, match="look_alikes"):
            shared_outfits(wrong, ids, clothes)


def test_without_the_outfit_columns_there_is_no_outfit(tmp_path):
    frames, ids, cameras, _ = tracklets()
    annotate(tmp_path / "a.csv", frames, ids, cameras)
    text = (tmp_path / "a.csv").read_text().replace("Bottoms.t", "shoes")
    (tmp_path / "a.csv").write_text("\ufeff" + text, encoding="utf-8")  # as Excel writes it
    found = read_attributes(tmp_path / "a.csv", frames, ids, cameras)
    assert found.outfits(ids) is None
    assert found.combinations().max() > 0


def test_ranking_by_attributes(tmp_path):
    """Each person has its own combination: nobody else is at distance 0."""
    frames, ids, cameras, roles = tracklets(each=8)
    annotate(tmp_path / "a.csv", frames, ids, cameras)
    found = read_attributes(tmp_path / "a.csv", frames, ids, cameras)
    of_person = (ids[:, None] // 2 ** np.arange(len(NAMES))) % 2
    found.values[ids > 0] = of_person[ids > 0]
    nothing = np.zeros((len(ids), 0), np.float32)
    metrics = rank_by_attributes(found, Embeddings(nothing, nothing, ids, cameras), roles, PROTOCOLS["official"])
    assert metrics.mAP == 1
    assert metrics.num_gallery == (ids > 0).sum()
    assert metrics.num_tied_queries == 0
    found.values[ids > 0] = 0
    same = rank_by_attributes(found, Embeddings(nothing, nothing, ids, cameras), roles, PROTOCOLS["official"])
    assert same.num_tied_queries == same.num_valid_queries
    assert same.mAP < 0.3


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("person-id", "person", "expected the header person-id,camera,tracklet"),
        ("hat", "Tops.c", "expected the header"),
        (",Tops.c,Bottoms.c,hat,Tops.l,Bottoms.l,Bottoms.t", "", "expected the header"),
        ("99,1,1,0,", "99,1,1,x,", "line .*: expected 9 whole numbers, found"),
        ("99,1,1,0,", "99,1,1,", "line .*: expected 9 whole numbers"),
        ("99,1,1,0,", "-1,1,1,0,", "line .*: expected 9 whole numbers"),
        ("99,1,1,0,0,0,0,0,0", "99,1,1,0,0,0,0,0,0\n99,1,1,0,0,0,0,0,0", "person 99 in camera 1 has a tracklet twice"),
        ("99,1,1,0,", "3,1,1,0,", "does not fit the data set: 1 of .* person 3 in camera 1 with"),
    ],
)
def test_wrong_files(tmp_path, old, new, expected):
    frames, ids, cameras, _ = tracklets()
    annotate(tmp_path / "a.csv", frames, ids, cameras)
    text = (tmp_path / "a.csv").read_text()
    assert old in text
    (tmp_path / "a.csv").write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=expected):
        read_attributes(tmp_path / "a.csv", frames, ids, cameras)


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00"])
def test_files_that_cannot_be_read(tmp_path, content):
    if content is not None:
        (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"a.csv"):
        read_attributes(tmp_path / "a.csv", *tracklets()[:3])


@pytest.mark.real_data
def test_annotation_of_mars(real_data):
    """Two published counts of look-alikes among the 1,980 queries, and the ranking by attributes."""
    from scipy.io import loadmat

    tracks = loadmat(real_data / "mars_info" / "tracks_test_info.mat")["track_test_info"]
    positions = loadmat(real_data / "mars_info" / "query_IDX.mat")["query_IDX"].ravel().astype(int) - 1
    ids, cameras = tracks[:, 2].astype(np.int32), tracks[:, 3].astype(np.int32)
    query = np.zeros(len(ids), bool)
    query[positions] = True
    roles = Roles(query, ids >= 0, ids < 0)
    frames = [f"{row:06d}" for row in range(len(ids))]
    found = read_attributes(real_data / "mars_attributes" / "mars_attributes.csv", frames, ids, cameras)
    assert found.annotated.sum() == 8062
    outfits = found.outfits(ids)
    assert outfits is not None
    assert look_alike_queries(outfits, ids, roles).sum() == 1756
    assert look_alike_queries(found.combinations(), ids, roles).sum() == 963
    nothing = np.zeros((len(ids), 0), np.float32)
    metrics = rank_by_attributes(found, Embeddings(nothing, nothing, ids, cameras), roles, PROTOCOLS["official"])
    assert (metrics.num_gallery, metrics.num_valid_queries) == (8062, 1980)
    assert metrics.mAP == pytest.approx(0.675, abs=0.002)  # ties at random, once
    assert metrics.cmc[0] == pytest.approx(0.670, abs=0.005)


@pytest.mark.real_data
def test_made_up_attributes_fit_the_real_lists_of_mars(real_data, tmp_path):
    """The format of the annotation on the lists of MARS: every line finds its tracklet, and one that lacks is named."""
    from scipy.io import loadmat

    tracks = loadmat(real_data / "mars_info" / "tracks_test_info.mat")["track_test_info"]
    ids, cameras = tracks[:, 2].astype(np.int32), tracks[:, 3].astype(np.int32)
    lines, numbers = ["person-id,camera,tracklet,Tops.c,Bottoms.c"], {}
    for person, camera in zip(ids.tolist(), cameras.tolist(), strict=True):
        numbers[person, camera] = numbers.get((person, camera), 0) + 1
        if person > 0:
            lines.append(f"{person},{camera},{numbers[person, camera]},{person % 5},{numbers[person, camera] % 2}")
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    frames = [f"{row:06d}" for row in range(len(ids))]
    found = read_attributes(tmp_path / "a.csv", frames, ids, cameras)
    assert found.annotated.sum() == 8062
    np.testing.assert_array_equal(found.values[found.annotated, 0], ids[found.annotated] % 5)
    assert found.outfits(ids) is None
    (tmp_path / "a.csv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(InputError, match="a.csv does not fit"):
        read_attributes(tmp_path / "a.csv", frames, ids, cameras)
