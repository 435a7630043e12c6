"""The command ``python -m rgcn_jax.data.keypoints``, on generated walkers in the layout of MARS and on real crops."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rgcn_jax.data.datasets import mars
from rgcn_jax.data.keypoints import formats, store
from rgcn_jax.data.keypoints import table as keypoint_table
from rgcn_jax.data.keypoints.__main__ import main
from rgcn_jax.data.keypoints.coordinates import normalised_coordinates
from rgcn_jax.skeleton import to_14
from rgcn_jax.types import unique_frames
from tests import mars_folder
from tests.commands import status
from tests.data.keypoints.bodies import people

SIZE = np.array([[256, 128]])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return mars_folder.write(tmp_path_factory.mktemp("walkers") / "MARS")


def _frames(root):
    split = mars.load(root)
    return unique_frames((*split.train, *split.query, *split.gallery, *split.junk))


def _header(path):
    with np.load(path, allow_pickle=False) as arrays:
        return json.loads(arrays["header"].item())


def _command(*arguments):
    command = [sys.executable, "-m", "rgcn_jax.data.keypoints", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _convert(root, path, out, *others):
    return status(main, ["--dataset=mars", f"--root={root}", f"--keypoints={path}", f"--out={out}", *others])


def test_there_and_back_again(root, tmp_path, capsys):
    """OpenPose's files -> store -> OpenPose's files -> store: the same numbers, the same bytes."""
    first, folder, second = tmp_path / "1.npz", tmp_path / "openpose", tmp_path / "2.npz"
    assert _convert(root, root / "openpose", first, "--detector=walkers") == 0
    assert _convert(root, first, folder, "--to=openpose") == 0
    assert _convert(root, folder, second, "--detector=walkers") == 0
    assert first.read_bytes() == second.read_bytes()
    frames = _frames(root)
    expected = formats.read(root / "openpose", frames, SIZE).pixels
    for path in (first, folder, second):
        np.testing.assert_array_equal(formats.read(path, frames, SIZE).pixels, expected)
    files = {str(f.relative_to(folder)) for f in folder.rglob("*.json")}
    assert files == {f"{frame[:-4]}_keypoints.json" for frame in frames}
    header = _header(second)
    assert (header["detector"], header["skeleton"], header["frames"]) == ("walkers", "openpose_body25", len(frames))
    capsys.readouterr()
    assert _convert(root, first, folder, "--to=openpose") == 2
    assert "openpose is there already" in capsys.readouterr().err


def test_the_printed_coverage_is_that_of_the_header_and_of_the_files(root, tmp_path, capsys):
    out = tmp_path / "k.npz"
    assert _convert(root, root / "openpose", out, "--threshold=0.6") == 0
    printed = capsys.readouterr().out.splitlines()
    frames = _frames(root)
    pixels = formats.read(root / "openpose", frames, SIZE).pixels
    detected = (
        (pixels[..., 2] >= 0.6) & (pixels[..., 0] <= 128) & (pixels[..., 1] <= 256) & (pixels[..., :2] >= 0).all(-1)
    )
    assert 0 < detected.sum() < (pixels[..., 2] > 0).sum()
    number = detected.sum(axis=1)
    camera = np.array([int(Path(frame).name[5]) for frame in frames])
    header = _header(out)
    assert header["threshold"] == 0.6
    for name, rows in {"1": camera == 1, "2": camera == 2, "all": camera > 0}.items():
        kinds = [((lo <= number) & (number <= hi) & rows).sum() for lo, hi in ((0, 0), (1, 7), (8, 13), (14, 14))]
        counts = header["coverage"]["frames"] if name == "all" else header["coverage"]["cameras"][name]
        assert list(counts.values()) == kinds
        (line,) = [line for line in printed if line.split()[0] == name]
        assert line.split()[1:] == [f"{kind / rows.sum():.1%}" for kind in kinds]
    assert list(header["coverage"]["keypoints"].values()) == detected.sum(axis=0).tolist()
    assert any(line.startswith(f"head           {detected[:, 0].mean():6.1%}") for line in printed)


def test_a_store_passes_on_where_its_keypoints_are_from(root, tmp_path, capsys):
    frames = _frames(root)
    pixels = formats.read(root / "openpose", frames, SIZE).pixels
    store.save(tmp_path / "1.npz", frames, pixels, detector="RTMPose-m", skeleton="coco17", threshold=0.3)
    assert _convert(root, tmp_path / "1.npz", tmp_path / "2.npz", "--threshold=0.1") == 0
    header = _header(tmp_path / "2.npz")
    assert (header["detector"], header["skeleton"], header["threshold"]) == ("RTMPose-m", "coco17", 0.3)
    assert "a keypoint store (.npz), coco17." in capsys.readouterr().out


def test_what_has_no_entry_and_what_is_not_used_is_reported(root, tmp_path, capsys):
    frames = _frames(root)
    person = [number for v in range(17) for number in (v + 1.0, 2.0 * v + 1, 0.9)]
    names = [*frames[:-3], "other/x.jpg", "../y.jpg"]
    (tmp_path / "a.json").write_text(json.dumps([{"image_id": name, "keypoints": person} for name in names]))
    assert _convert(root, tmp_path / "a.json", tmp_path / "k.npz") == 0
    printed = capsys.readouterr().out
    assert f"Without an entry 3 of the {len(frames)} frames: nobody was found in them." in printed
    assert "Entries of no frame of the data set, left out: 2." in printed
    (tmp_path / "a.json").write_text(json.dumps([{"image_id": name, "keypoints": person} for name in frames[:5]]))
    assert _convert(root, tmp_path / "a.json", tmp_path / "k2.npz") == 2
    assert "a lower --least-share" in capsys.readouterr().err
    assert not (tmp_path / "k2.npz").exists()
    assert _convert(root, tmp_path / "a.json", tmp_path / "k2.npz", "--least-share=0.01") == 0
    assert _header(tmp_path / "k2.npz")["coverage"]["frames"]["0"] == len(frames) - 5


def test_a_store_of_nobody_is_never_written_nor_advised(root, tmp_path, capsys):
    (tmp_path / "a.json").write_text(json.dumps([{"image_id": "other.jpg", "keypoints": [1.0, 2.0, 0.9] * 17}]))
    assert _convert(root, tmp_path / "a.json", tmp_path / "k.npz") == 2
    error = capsys.readouterr().err
    assert "--least-share" not in error
    assert "expected" in error
    assert "found other.jpg" in error
    for more in (["--least-share=0"], ["--least-share=0", "--to=openpose"]):
        assert _convert(root, tmp_path / "a.json", tmp_path / "k.npz", *more) == 2
        assert "no detected keypoint" in capsys.readouterr().err
    assert _convert(root, root / "openpose", tmp_path / "k.npz", "--threshold=2") == 2
    assert not (tmp_path / "k.npz").exists()


def test_what_the_files_do_not_say_is_reported(root, tmp_path, capsys, monkeypatch):
    frames = _frames(root)
    bodies = people("h36m17", len(frames))
    np.savez(tmp_path / "k.npz", names=frames, keypoints=bodies / np.array([128, 256, 1], np.float32))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _convert(root, "~/k.npz", "~/out.npz") == 2
    assert "--units=normalised" in capsys.readouterr().err
    assert _convert(root, "~/k.npz", "~/out.npz", "--units=normalised") == 2
    assert "--skeleton=h36m17" in capsys.readouterr().err
    assert _convert(root, "~/k.npz", "~/out.npz", "--units=normalised", "--skeleton=H36M-17") == 0
    assert "h36m17. Coordinates: normalised." in capsys.readouterr().out
    found = formats.read(tmp_path / "out.npz", frames, SIZE).pixels
    np.testing.assert_allclose(found, to_14(bodies, "h36m17"), rtol=1e-5)
    assert _convert(root, "~/k.npz", "~/out.npz", "--skeleton=coco99") == 2
    assert "coco99" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (["--threshold=nan"], "--threshold=nan --least-share=0.66"),
        (["--threshold=-1"], "expected a confidence, 0 or more"),
        (["--least_share=2"], "--least-share=2.0"),
        (["--format=csv"], "Keypoints as csv are GAF-Net's or GaitGraph's .csv, but"),
    ],
)
def test_a_wrong_option_is_one_sentence(root, tmp_path, capsys, others, message):
    assert _convert(root, root / "openpose", tmp_path / "k.npz", *others) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_path_that_is_not_utf8(root, tmp_path):
    out = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.npz")
    done = _command("--dataset=mars", f"--root={root}", f"--keypoints={root / 'openpose'}", f"--out={out}")
    assert (done.returncode, done.stderr) == (0, "")
    assert r"\udcff.npz: " in done.stdout
    assert _header(out)["frames"] == len(_frames(root))
    done = _command("--dataset=mars", f"--root={root}", f"--keypoints={out}x", f"--out={tmp_path / 'k.npz'}")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_the_choices_of_forms_are_listed(root, tmp_path, capsys):
    assert _convert(root, root / "openpose", tmp_path / "k.npz", "--format=coco") == 2
    assert "choose from" in (error := capsys.readouterr().err)
    assert all(name in error for name in ("openpose", "mmpose", "alphapose", "agrl", "csv", "arrays", "store"))


def test_command_says_what_is_wrong_in_one_line(tmp_path):
    arguments = ["--dataset=mars", f"--root={tmp_path / 'MARS'}", f"--keypoints={tmp_path}"]
    done = _command(*arguments, f"--out={tmp_path / 'k.npz'}")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: MARS not found: ")
    assert done.stderr.count("\n") == 1
    done = _command(*arguments, "--out=k")
    assert (done.returncode, done.stderr.startswith("error: A keypoint store must be called")) == (2, True)


@pytest.mark.real_data
def test_command_writes_a_store_that_gives_the_same_table(real_data, tmp_path):
    root = real_data / "vtest_mars"
    out = tmp_path / "k.npz"
    done = _command("--dataset=mars", f"--root={root}", f"--keypoints={root / 'openpose'}", f"--out={out}")
    assert (done.returncode, done.stderr) == (0, "")
    printed = done.stdout.splitlines()
    assert "openpose_body25" in printed[0]
    assert "1,178 frames" in printed[1]
    assert printed[2].split() == ["camera", "0", "1-7", "8-13", "14"]
    assert [line.split()[0] for line in printed[3:6]] == ["1", "2", "all"]
    for line in printed[3:6]:
        assert sum(float(share.rstrip("%")) for share in line.split()[1:]) == pytest.approx(100, abs=0.2)
    split = mars.load(root)
    np.testing.assert_array_equal(
        keypoint_table.load(out, split).values, keypoint_table.load(root / "openpose", split).values
    )
    assert out.stat().st_size < 160 * 1178


@pytest.mark.real_data
def test_three_forms_of_real_crops_become_stores_that_agree(real_data, tmp_path, capsys):
    """Where two forms hold a keypoint it is the same to the third decimal of a pixel; none holds one above the
    threshold that another lacks, but for ten scores that were rounded up to it.
    """
    root = real_data / "vtest_mars"
    frames, stores = _frames(root), {}
    for name in ("keypoints.npz", "openpose", "alphapose-results.json"):
        assert _convert(root, root / name, tmp_path / "k.npz", "--threshold=0.2") == 0
        pixels = formats.read(tmp_path / "k.npz", frames, SIZE).pixels
        stores[name] = normalised_coordinates("", pixels, SIZE) * np.array([128, 256, 1], np.float32)
    assert "Without an entry 1 of the 1,178 frames" in capsys.readouterr().out
    stored, openpose, alphapose = stores.values()
    np.testing.assert_array_equal(stored[..., 2] > 0, openpose[..., 2] > 0)
    extra = (alphapose[..., 2] > 0) & (stored[..., 2] == 0)
    assert (extra.sum(), alphapose[extra][:, 2].max()) == (10, np.float32(0.2))
    for other in (openpose, np.where(extra[..., None], 0, alphapose)):
        assert np.abs(other - stored).max() <= 0.52e-3
