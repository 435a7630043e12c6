"""Features of other programs: files of each form, matched by names and by order, and refused where they do not fit."""

import os
import pickle
import zipfile
import zlib

import h5py
import numpy as np
import pytest
import scipy.io

from rgcn_jax.config import DataConfig
from rgcn_jax.data.clips import precomputed
from rgcn_jax.data.datasets import mars
from rgcn_jax.data.features import files
from rgcn_jax.data.features.__main__ import main
from rgcn_jax.data.features.keys import Role, role_of
from rgcn_jax.data.load import open_data
from rgcn_jax.errors import InputError
from tests import commands, mars_folder, pytorch

WIDTH = 5


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return mars_folder.write(tmp_path_factory.mktemp("features") / "mars")


@pytest.fixture(scope="module")
def split(root):
    return mars.load(root)


def feature(tracklet):
    return np.random.default_rng(zlib.crc32(tracklet.frames[0].encode())).standard_normal(WIDTH).astype(np.float32)


def part(prefix, tracklets, first_camera=0):
    """As AP3D and BiCnet-TKS have them in memory: cameras from 0."""
    return {
        f"{prefix}f": np.stack([feature(t) for t in tracklets]),
        f"{prefix}_pids": np.array([t.person_id for t in tracklets]),
        f"{prefix}_camids": np.array([t.camera_id - 1 + first_camera for t in tracklets]),
    }


def both(split, **options):
    return part("q", split.query, **options) | part("g", split.gallery, **options)


def write_hdf5(path, arrays):
    """As MATLAB's version 7.3: axes from the other end."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=np.atleast_2d(array).T).attrs["MATLAB_class"] = np.bytes_("double")


def write_pickle(path, arrays):
    """As ``torch.save`` writes arrays of NumPy."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(arrays, protocol=2))


def write_torch(path, arrays, **options):
    """Tensors, and lists of numbers and of tensors."""
    torch = pytorch.torch()
    content = {
        name: torch.from_numpy(value) if value.dtype.kind == "f" else value.tolist() for name, value in arrays.items()
    }
    content["gf"] = list(content["gf"])
    content["g_pids"] = [torch.tensor(person) for person in content["g_pids"]]
    torch.save(content, path, **options)


FORMS = {
    "f.mat": lambda path, arrays: scipy.io.savemat(path, arrays),
    "packed.mat": lambda path, arrays: scipy.io.savemat(path, arrays, do_compression=True),
    "f73.mat": write_hdf5,
    "f.npz": lambda path, arrays: np.savez(path, **arrays),
    "arrays.pth": write_pickle,
    "tensors.pth": write_torch,
    "legacy.pth.tar": lambda path, arrays: write_torch(path, arrays, _use_new_zipfile_serialization=False),
}


def arguments(files, root, out, *others):
    return [*(f"--from={file}" for file in files), "--dataset=mars", f"--root={root}", f"--out={out}", *others]


def converted(folder, arrays, root, *others, form="f.npz"):
    """What the command writes, by the first frame of a tracklet."""
    FORMS[form](folder / form, arrays)
    assert commands.status(main, arguments([folder / form], root, folder / "out.npz", *others)) == 0
    with np.load(folder / "out.npz") as file:
        found = dict(file)
    assert found.keys() == {
        *("appearance", "pose", "person_ids", "camera_ids", "first_frames", "is_query", "is_gallery"),
    }
    return found


def check(found, split, tracklets=()):
    """Every query and gallery tracklet once, and those beside, with their own features, ids and roles."""
    expected = {t.frames[0]: t for t in [*split.gallery, *split.query, *tracklets]}
    assert sorted(found["first_frames"]) == sorted(expected)
    query, gallery = ({t.frames[0] for t in ts} for ts in (split.query, split.gallery))
    for i, name in enumerate(found["first_frames"].tolist()):
        t = expected[name]
        np.testing.assert_array_equal(found["appearance"][i], feature(t))
        assert (found["person_ids"][i], found["camera_ids"][i]) == (t.person_id, t.camera_id)
        assert (found["is_query"][i], found["is_gallery"][i]) == (name in query, name in gallery)
    assert found["pose"].shape == (len(expected), 0)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_matched_by_order(form, tmp_path, root, split, capsys):
    check(converted(tmp_path, both(split), root, form=form), split)
    reported = capsys.readouterr().out
    assert f"gallery: {len(split.gallery)} rows, matched by order (the gallery)" in reported
    assert "cameras count from 0" in reported
    assert "share person and camera" in reported
    assert "training tracklets have none" in reported


def test_the_gallery_without_the_queries_and_cameras_from_1(tmp_path, root, split, capsys):
    rest = [t for t in split.gallery if t not in split.query]
    arrays = part("q", split.query, first_camera=1) | part("g", rest, first_camera=1)
    check(converted(tmp_path, arrays, root), split)
    reported = capsys.readouterr().out
    assert "(the gallery without the queries)" in reported
    assert "from 0" not in reported


def test_all_in_one_table(tmp_path, root, split):
    """As torchreid and fast-reid collect them: the queries, then the gallery."""
    rest = [t for t in split.gallery if t not in split.query]
    arrays = {name[1:].lstrip("_"): value for name, value in part("q", [*split.query, *rest]).items()}
    assert arrays.keys() == {"f", "pids", "camids"}
    check(converted(tmp_path, arrays, root), split)


def test_a_file_for_each_part(tmp_path, root, split):
    for name, tracklets in (("query", split.query), ("gallery", split.gallery)):
        arrays = {key[1:].lstrip("_"): value for key, value in part("q", tracklets).items()}
        np.savez(tmp_path / f"mars_{name}.npz", **arrays)
    files = [tmp_path / "mars_query.npz", tmp_path / "mars_gallery.npz"]
    assert commands.status(main, arguments(files, root, tmp_path / "out.npz")) == 0
    with np.load(tmp_path / "out.npz") as file:
        check(dict(file), split)


@pytest.mark.parametrize("form", ["f.npz", "f.mat", "packed.mat", "arrays.pth"])
def test_rows_with_names_come_in_any_order(form, tmp_path, root, split, capsys):
    """Junk and training tracklets among them; any frame of a tracklet, below another root, with MATLAB's characters."""
    rng, arrays = np.random.default_rng(0), {}
    for prefix, tracklets in (("q", split.query), ("g", (*split.gallery, *split.junk)), ("train_", split.train)):
        tracklets = [tracklets[i] for i in rng.permutation(len(tracklets))]
        arrays |= {name.replace("__", "_"): value for name, value in part(prefix, tracklets).items()}
        names = [f"/home/somebody/{'x' * i}/mars/{t.frames[-1]}" for i, t in enumerate(tracklets)]
        arrays[f"{prefix}_names".replace("__", "_")] = np.array(names)
    check(converted(tmp_path, arrays, root, form=form), split, [*split.junk, *split.train])
    assert "matched by names" in capsys.readouterr().out
    assert precomputed.load(tmp_path / "out.npz", [*split.train, *split.query]).covers(split.query)


def test_names_from_a_list_with_the_ids_left_out(tmp_path, root, split):
    query, gallery = split.query[::-1], split.gallery[::-1]
    names = [t.frames[0].rpartition("/")[2] for t in (*query, *gallery)]
    (tmp_path / "names.txt").write_text("\r\n".join(names) + "\r\n")
    arrays = {"query_f": part("q", query)["qf"], "gallery_f": part("g", gallery)["gf"]}
    check(converted(tmp_path, arrays, root, f"--names={tmp_path / 'names.txt'}"), split)


def test_training_people_may_have_other_numbers_one_for_one(tmp_path, root, split, capsys):
    """And the file is what training takes; junk, of which other programs have no features, is left out."""
    people = {person: label for label, person in enumerate(sorted({t.person_id for t in split.train})[::-1])}
    train = part("train_", split.train)
    arrays = {name.replace("__", "_"): value for name, value in train.items()}
    arrays["train_pids"] = np.array([people[t.person_id] for t in split.train])
    check(converted(tmp_path, arrays | both(split), root), split, split.train)
    data = DataConfig(name="mars", root=str(root), features=str(tmp_path / "out.npz"))
    opened = open_data(data, (32, 16), with_pose=False)
    assert (opened.shape, len(opened.split.junk)) == ((WIDTH,), 0)
    assert "junk tracklets have no appearance features: the protocol junk_kept is omitted" in capsys.readouterr().out
    arrays["train_pids"][0] = arrays["train_pids"][-1]
    np.savez(tmp_path / "f.npz", **arrays, **both(split))
    error = commands.fails(main, arguments([tmp_path / "f.npz"], root, tmp_path / "other.npz"), capsys)
    assert "train: the rows are not in the data set's order: row " in error


def changed(name, change):
    def apply(arrays):
        value = arrays[name].copy()
        arrays[name] = value if (new := change(value)) is None else new

    return apply


def swap(value):
    value[[0, -1]] = value[[-1, 0]]


WRONG = {
    "another person": (changed("g_pids", swap), "gallery: the rows are not in the data set's order: row 1 is person"),
    "another camera": (changed("q_camids", lambda v: 1 - v), "query: the rows are not in the data set's order: row 1"),
    "another number of rows": (
        lambda arrays: arrays.update({name: arrays[name][:-1] for name in ("gf", "g_pids", "g_camids")}),
        "rows, but the data set has: the gallery ",
    ),
    "ids of other rows": (changed("g_pids", lambda v: v[:-1]), "g_pids has"),
    "no ids": (lambda arrays: arrays.pop("g_pids"), "their tracklets are unknown"),
    "ids alone": (lambda arrays: arrays.pop("gf"), "there are no features for"),
    "nothing": (lambda arrays: arrays.clear(), "has no arrays named qf, gf"),
    "a NaN": (
        changed("qf", lambda v: v.__setitem__((1, 2), np.nan)),
        "1 rows of qf are not finite, the first is row 2",
    ),
    "whole numbers": (changed("qf", lambda v: v.astype(np.int32)), "qf: expected features [N, D], floating-point"),
    "one axis": (changed("qf", lambda v: v[0]), "qf: expected features [N, D]"),
    "ids that are none": (changed("q_pids", lambda v: v + 0.5), "q_pids: expected whole numbers"),
    "a name of nothing": (
        lambda arrays: arrays.update(q_names=np.array(["a/b.jpg"] * len(arrays["qf"]))),
        "query: a/b.jpg is not a frame of the data set, which has names like bbox_train/",
    ),
    "two of a kind": (lambda arrays: arrays.update(query_f=arrays["qf"]), "both look like the features of query"),
    "another width": (changed("qf", lambda v: v[:, 1:]), "the parts have features of 4, 5 dimensions"),
    "other features of a tracklet": (changed("qf", lambda v: v + 1), "different features in another row"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_named_and_nothing_is_written(case, tmp_path, root, split, capsys):
    arrays = both(split)
    change, message = WRONG[case]
    change(arrays)
    np.savez(tmp_path / "f.npz", **arrays)
    assert message in commands.fails(main, arguments([tmp_path / "f.npz"], root, tmp_path / "out.npz"), capsys)
    assert not (tmp_path / "out.npz").exists()


def test_a_gallery_with_the_queries_is_enough(tmp_path, root, split):
    check(converted(tmp_path, part("g", split.gallery), root), split)


def test_names_that_contradict_the_ids(tmp_path, root, split, capsys):
    arrays = both(split) | {"q_names": np.array([t.frames[0] for t in split.query])}
    changed("q_pids", swap)(arrays)
    np.savez(tmp_path / "f.npz", **arrays)  # pyright: ignore[reportArgumentType]
    error = commands.fails(main, arguments([tmp_path / "f.npz"], root, tmp_path / "out.npz"), capsys)
    assert "query: row 1 is person" in error


def test_a_gallery_without_the_queries_needs_them(tmp_path, root, split, capsys):
    np.savez(tmp_path / "f.npz", **part("g", [t for t in split.gallery if t not in split.query]))
    error = commands.fails(main, arguments([tmp_path / "f.npz"], root, tmp_path / "out.npz"), capsys)
    assert f"{len(split.query)} of the {len(split.query)} query tracklets have no features" in error


@pytest.mark.parametrize("name", ["f.npz", "f.mat", "f.pth", "f.csv"])
def test_files_that_are_none(name, tmp_path, root, capsys):
    (tmp_path / name).write_bytes(b"MATLAB or something else" * 9)
    error = commands.fails(main, arguments([tmp_path / name], root, tmp_path / "out.npz"), capsys)
    assert str(tmp_path / name) in error
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    assert "not a regular file" in commands.fails(
        main, arguments([tmp_path / name], root, tmp_path / "out.npz"), capsys
    )
    assert "absent" in commands.fails(main, arguments([tmp_path / f"absent{name}"], root, tmp_path / "o.npz"), capsys)


def test_hdf5_that_would_fill_the_memory_or_names_another_file(tmp_path, root, capsys):
    with h5py.File(tmp_path / "f.mat", "w") as file:
        file.create_dataset("qf", (10**7, 10**4), "f4", chunks=(1, 10**4))
    assert "GiB" in commands.fails(main, arguments([tmp_path / "f.mat"], root, tmp_path / "out.npz"), capsys)
    with h5py.File(tmp_path / "f.mat", "w") as file:
        file["qf"] = h5py.ExternalLink("other.mat", "qf")
    assert "no matrix" in commands.fails(main, arguments([tmp_path / "f.mat"], root, tmp_path / "out.npz"), capsys)


@pytest.mark.parametrize(
    ("key", "role"),
    [
        ("gf", Role("gallery", "features")),
        ("q_pids", Role("query", "person_ids")),
        ("gallery_cam", Role("gallery", "camera_ids")),
        ("query_label", Role("query", "person_ids")),
        ("feat_query", Role("query", "features")),
        ("g_img_paths", Role("gallery", "names")),
        ("train_f", Role("train", "features")),
        ("features", Role("", "features")),
        ("distmat", None),
        ("q_features_gallery", None),
    ],
)
def test_keys_of_programs(key, role):
    assert role_of(key) == role


def test_a_small_hdf5_file_whose_chunk_is_enormous_is_refused(tmp_path):
    with h5py.File(tmp_path / "gf.mat", "w") as file:
        file.create_dataset("gf", (4, 8), "f4", chunks=(2**14, 2**14), maxshape=(None, None), compression="gzip")
        file.create_dataset("qf", (4, 8), "f4", chunks=(2**15, 2**14), maxshape=(None, None), compression="gzip")
    with pytest.raises(InputError, match="qf is no matrix of numbers of at most 4 GiB"):
        files._read(tmp_path / "gf.mat")
