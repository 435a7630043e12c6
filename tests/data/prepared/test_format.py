"""Prepared data holds what the data set holds: the same tracklets, batches equal bit for bit, records for others."""

import json
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

from rgcn_jax.config import DataConfig
from rgcn_jax.data import prepare
from rgcn_jax.data.clips.augment import Augmentation
from rgcn_jax.data.clips.sampling import IdentitySampler, evaluation_plans
from rgcn_jax.data.datasets import mars
from rgcn_jax.data.keypoints import table as keypoint_table
from rgcn_jax.data.load import open_data
from rgcn_jax.data.prepared import format as prepared_format
from rgcn_jax.data.prepared.reader import open_prepared
from rgcn_jax.errors import InputError
from rgcn_jax.runtime.user_files import file_hash
from tests import frames
from tests.commands import next_command, status
from tests.data.prepared import preparing


def opened(root, name="mars", height=256, width=128, with_pose=True, **changes):
    return open_data(DataConfig(name, str(root), **changes), (height, width), with_pose)


@pytest.fixture(scope="module")
def loose(tmp_path_factory):
    return preparing.write(tmp_path_factory.mktemp("loose") / "MARS")


@pytest.fixture(scope="module")
def out(loose, tmp_path_factory):
    """Prepared by the command itself, in several shards."""
    out = tmp_path_factory.mktemp("prepared")
    process = preparing.run(loose, f"--out={out}", "--frames_per_shard=20")
    assert process.returncode == 0, process.stderr
    assert next_command(process.stdout) == ["train", "--config=mars", f"--config.data.root={out}"]
    assert len(open_prepared(out / "mars_pose" / "1.0.0").marker.shards) > 4
    return out


def assert_same_data(data, other, frames_per_clip):
    """The same split and the same batches, training with every augmentation and evaluation."""
    for part in ("train", "query", "gallery", "junk", "frame_size", "name", "split_description"):
        assert getattr(data.split, part) == getattr(other.split, part), part
    sampler = IdentitySampler(
        data.split.train,
        identities=2,
        clips_per_identity=3,
        frames_per_clip=frames_per_clip,
        max_frame_stride=4,
        augmentation=Augmentation(0.5, 1.125, 0.5, 0.5),
        seed=3,
    )
    test = [*data.split.query, *data.split.gallery, *data.split.junk]
    cutting = {"clips": "dense", "frames_per_clip": frames_per_clip, "clips_per_batch": 5}
    for plans in (list(sampler.plans(0, 4)), list(evaluation_plans(test, **cutting))):
        batches, expected = list(data.read(plans)), list(other.read(plans))
        assert len(batches) == len(plans)
        for batch, same in zip(batches, expected, strict=True):
            frames.assert_batches_equal(batch, same)


@pytest.mark.slow
def test_training_and_evaluation_see_what_the_loose_files_hold(loose, out):
    files = opened(loose, keypoints=str(loose / "openpose"))
    for root in (out, out / "mars_pose", out / "mars_pose" / "1.0.0"):
        assert opened(root).split == opened(out).split
    assert_same_data(opened(out), files, frames_per_clip=5)
    bare = opened(out, with_pose=False)
    (batch,) = bare.read(evaluation_plans(bare.split.query[:1], clips="even", frames_per_clip=3, clips_per_batch=1))
    assert not batch["keypoints"].any()


@pytest.mark.slow
@pytest.mark.real_data
def test_of_the_real_frames_too(real_data, tmp_path):
    root = real_data / "vtest_mars"
    line = ["--dataset=mars", f"--root={root}", f"--keypoints={root / 'openpose'}", f"--out={tmp_path}"]
    assert status(prepare.main, line) == 0
    assert_same_data(opened(tmp_path), opened(root, keypoints=str(root / "openpose")), frames_per_clip=4)


def test_tensorflow_datasets_opens_it_without_this_package(loose, out):
    split, table = mars.load(loose), None
    table = keypoint_table.load(loose / "openpose", split, [*split.train, *split.query, *split.gallery, *split.junk])
    builder = tfds.builder("mars_pose", data_dir=out)
    assert builder.info.full_name == "mars_pose/1.0.0"
    assert set(builder.info.splits) == {"train", "test"}
    other = tfds.builder_from_directory(out / "mars_pose" / "1.0.0")
    assert other.info.splits["test"].num_examples == builder.info.splits["test"].num_examples
    source = preparing.records(builder, "train")
    assert len(source) == sum(len(t.frames) for t in split.train)
    row = 0
    for number, tracklet in enumerate(split.train):
        for position, frame in enumerate(tracklet.frames):
            record = source[row]
            assert (record["tracklet"], record["frame"], record["name"]) == (number, position, frame.encode())
            assert (record["person_id"], record["camera_id"]) == (tracklet.person_id, tracklet.camera_id)
            np.testing.assert_array_equal(record["keypoints"], table.values[table.rows[frame]])
            np.testing.assert_array_equal(record["image"], frames.read_image(loose / frame))
            row += 1
    people = {int(r["person_id"]) for r in preparing.records(builder, "test")}
    assert people == {t.person_id for t in (*split.query, *split.gallery, *split.junk)}


def test_all_published_splits_are_prepared_at_once_and_frames_of_another_size_are_resized(tmp_path):
    root = preparing.write(tmp_path / "iLIDS", "ilids_vid", 32, 16)
    assert preparing.run_here(root, f"--out={tmp_path}", "--height=64", "--width=32", dataset="ilids_vid") == 0
    for number in (1, 2):
        options = {"name": "ilids_vid", "height": 64, "width": 32, "split": number}
        data, files = opened(tmp_path, **options), opened(root, keypoints=str(root / "openpose"), **options)
        assert data.split.split_description.startswith(f"split {number} of")
        for part in ("train", "query", "gallery", "split_description"):
            assert getattr(data.split, part) == getattr(files.split, part)
        plans = list(evaluation_plans(data.split.query, clips="dense", frames_per_clip=4, clips_per_batch=4))
        for batch, expected in zip(data.read(plans), files.read(plans), strict=True):
            np.testing.assert_array_equal(batch["keypoints"], expected["keypoints"])
            # Encoded as JPEG once more: the loose files are PNG.
            assert 0 < np.abs(batch["frames"].astype(int) - expected["frames"]).mean() < 3
    with pytest.raises(InputError, match="has splits 1 to .*set data.split"):
        opened(tmp_path, "ilids_vid", height=64, width=32, split=11)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"keypoints": "k.npz"}, "has its own: leave data.keypoints empty"),
        ({"height": 128, "width": 64}, "has frames of 256 x 128 pixels.*--height=128 --width=64"),
        ({"name": "folder", "root": "mars_pose/1.0.0"}, "was prepared from 'mars'.*set data.name to 'mars'"),
    ],
)
def test_what_does_not_fit_is_reported(out, changes, expected):
    with pytest.raises(InputError, match=expected):
        opened(**{**changes, "root": out / changes.get("root", "")})


def _without_keypoints(folder):
    marker = json.loads((folder / prepared_format.MARKER).read_text())
    (folder / prepared_format.MARKER).write_text(json.dumps({**marker, "has_keypoints": False}))


def _newer(folder):
    marker = json.loads((folder / prepared_format.MARKER).read_text())
    (folder / prepared_format.MARKER).write_text(json.dumps({**marker, "version": 99}))


def _shorten(name):
    def spoil(folder):
        (path,) = sorted(folder.glob(name))[:1]
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return spoil


def _half_prepared(folder):
    folder.rename(folder.with_name("1.0.0.partial"))


def _marked(**changes):
    """Fields of the marker; None removes one."""

    def spoil(folder):
        marker = json.loads((folder / prepared_format.MARKER).read_text()) | changes
        marker = {name: value for name, value in marker.items() if value is not None}
        (folder / prepared_format.MARKER).write_text(json.dumps(marker))

    return spoil


def _elsewhere(folder):
    """A shard that lies outside of the folder, whole."""
    marker = json.loads((folder / prepared_format.MARKER).read_text())
    shard = marker["shards"][0]
    (folder / shard["file"]).rename(folder.parents[2] / shard["file"])
    shard["file"] = f"../../../{shard['file']}"
    (folder / prepared_format.MARKER).write_text(json.dumps(marker))


def _rehash(folder):
    """Makes the hashes fit, as somebody who changes the files may do."""
    hashes = {name: file_hash(folder / name) for name in (prepared_format.INDEX, prepared_format.KEYPOINTS)}
    _marked(hashes=hashes)(folder)


def _keypoints(change, rehash=False):
    def spoil(folder):
        np.save(folder / prepared_format.KEYPOINTS, change(np.load(folder / prepared_format.KEYPOINTS)))
        if rehash:
            _rehash(folder)

    return spoil


def _index(name, change):
    def spoil(folder):
        with np.load(folder / prepared_format.INDEX) as stored:
            arrays = dict(stored)
        np.savez(folder / prepared_format.INDEX, **arrays | {name: change(arrays[name])})
        _rehash(folder)

    return spoil


def _nan_in_one(rows):
    rows[3, 2, 1] = np.nan
    return rows


def _flip(position, bit):
    """One bit of the keypoints: the contents are those of a whole array all the same."""

    def spoil(folder):
        rows = np.load(folder / prepared_format.KEYPOINTS)
        row = int(np.flatnonzero(rows[:, 0, 2] > 0.1)[0])
        rows.view(np.uint32)[row, 0, position] ^= 1 << bit
        np.save(folder / prepared_format.KEYPOINTS, rows)

    return spoil


def _in_header(folder):
    contents = (folder / prepared_format.KEYPOINTS).read_bytes()
    (folder / prepared_format.KEYPOINTS).write_bytes(contents.replace(b"'shape': (", b"'shape':((", 1))
    _rehash(folder)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (_marked(dataset=None), r"rgcn_jax.json cannot be read \(it has no dataset, or something else in its place"),
        (_marked(height=None), "cannot be read .it has no height"),
        (_marked(has_keypoints="no"), "cannot be read .it has no has_keypoints, or something else"),
        (_marked(width=2**70), "cannot be read .*is no height and width of a frame"),
        (_marked(frame_size=[256, "128"]), "cannot be read .*is no height and width of a frame"),
        (_marked(format="another"), "cannot be read .it is not of the form"),
        (lambda folder: (folder / prepared_format.MARKER).write_text("[" * 100_000), "rgcn_jax.json cannot be read"),
        (_elsewhere, r"rgcn_jax.json cannot be read .'../../../mars_pose-train.* is no name of a shard"),
        (_keypoints(_nan_in_one), "damaged: keypoints.npy is not what was written"),
        (_flip(0, 30), "damaged: keypoints.npy is not what was written"),
        (_flip(2, 0), r"damaged: keypoints.npy is not what was written \(checksum mismatch\)"),
        (_in_header, "is damaged .*prepare it again"),
        (_marked(hashes=[]), "cannot be read .it has no hashes"),
        (_marked(hashes=None), "cannot be read .it has no hashes"),
        (_marked(hashes={"/etc/passwd": ""}), "damaged: index.npz is not what was written"),
        (_keypoints(lambda rows: rows.astype("<U5"), True), "is damaged .*keypoints.npy <U5"),
        (_keypoints(lambda rows: rows[1:], True), "is damaged .*keypoints.npy float32"),
        (_index("train_1", lambda rows: rows - 1), "is damaged .*train_1 is of tracklets that are not there"),
        (_index("gallery_1", lambda rows: rows + 10**6), "is damaged .*gallery_1 is of tracklets that are not there"),
        (_index("num_frames", lambda counts: counts * [-1] + 0), "is damaged .*a tracklet without frames"),
        (_without_keypoints, "was prepared without keypoints"),
        (_newer, "prepared in version 99 of its format, this program reads version 1"),
        (_shorten("*train*-00000-*"), "damaged: mars_pose-train.array_record-00000-of-.* bytes, not "),
        (lambda folder: next(folder.glob("*test*-00001-*")).unlink(), "test.array_record-00001-of-00\\d+ is missing"),
        (_shorten("keypoints.npy"), "damaged: keypoints.npy"),
        (_shorten("index.npz"), "is damaged: index.npz .*prepare it again"),
        (lambda folder: (folder / "index.npz").unlink(), "is damaged: index.npz cannot be read"),
        (_shorten("rgcn_jax.json"), "rgcn_jax.json cannot be read"),
        (_half_prepared, "is an unfinished preparation: rerun python -m rgcn_jax.data.prepare"),
    ],
)
def test_damage_is_told_when_it_is_opened(out, tmp_path, spoil, expected):
    shutil.copytree(out, tmp_path / "copy")
    spoil(tmp_path / "copy" / "mars_pose" / "1.0.0")
    with pytest.raises(InputError, match=expected):
        opened(tmp_path / "copy")


def test_damage_within_a_shard_is_told_with_its_name_when_it_is_read(out, tmp_path):
    shutil.copytree(out, tmp_path / "copy")
    for path in (tmp_path / "copy" / "mars_pose" / "1.0.0").glob("*train*-00000-*"):
        contents = bytearray(path.read_bytes())
        contents[200 : len(contents) - 65536] = bytes(len(contents) - 65736)
        path.write_bytes(contents)
    data = opened(tmp_path / "copy")
    plans = list(evaluation_plans(data.split.train[:1], clips="dense", frames_per_clip=3, clips_per_batch=1))
    with pytest.raises(InputError, match=r"train.array_record-00000-of-\d+ cannot be read"):
        list(data.read(plans))
