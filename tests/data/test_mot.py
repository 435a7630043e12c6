import errno
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from rgcn_jax.data import mot
from rgcn_jax.data.datasets import custom
from rgcn_jax.errors import InputError
from tests.commands import next_command, status
from tests.frames import read_image

HEIGHT, WIDTH, FRAMES = 48, 64, 5
LINES = [
    "1,7,10,4,10,20,1,-1,-1,-1",
    "2,7,11,4,10,20,0.9,-1,-1,-1",
    "5,7,12,4,10,20,-1,-1,-1,-1",  # a gap before it
    " 2, 3, 40.5, 10, 8, 30",  # no confidence
    "3,3,41,10,8,30,0,1,1",  # left out
    "",
]


def images():
    """A vertical and a horizontal ramp; the frame's number is the third channel."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for frame in range(1, FRAMES + 1):
        yield np.stack([4 * x, 5 * y, np.full_like(x, 40 * frame)], axis=-1).astype(np.uint8)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "street.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (WIDTH, HEIGHT))
    assert writer.isOpened()
    for image in images():
        writer.write(image)
    writer.release()
    return path


@pytest.fixture
def tracks(tmp_path):
    path = tmp_path / "gt.txt"
    path.write_text("\n".join(LINES))
    return path


def box(left, top, width, height):
    return mot.Box(1, 1, 1, left, top, width, height)


def cut(image, *where):
    """The crop of a box that has one."""
    crop = mot.cut(image, box(*where))
    assert crop is not None
    return crop


def test_a_crop_is_twice_as_high_as_wide_about_the_middle_of_the_box():
    image = next(images())
    crop = cut(image, 10, 4, 10, 20)
    np.testing.assert_array_equal(crop, image[4:24, 10:20])
    narrow = cut(image, 10, 4, 4, 20)  # 3 more to the left and right
    np.testing.assert_array_equal(narrow, image[4:24, 7:17])
    wide = cut(image, 10, 10, 12, 10)  # 7 more above and below
    np.testing.assert_array_equal(wide, image[3:27, 10:22])
    fractions = cut(image, 10.2, 4.1, 9.5, 19)
    assert fractions.shape == (20, 10, 3)


def test_what_lies_outside_of_the_image_repeats_its_border():
    image = next(images())
    crop = cut(image, -5, -10, 20, 40)
    assert crop.shape == (40, 20, 3)
    np.testing.assert_array_equal(crop[10:, 5:], image[:30, :15])
    assert (crop[:10, 5:] == image[0, :15]).all()
    assert (crop[10:, :5] == image[:30, :1]).all()
    corner = cut(image, 60, 40, 10, 20)
    assert (corner[8:, 4:] == image[-1, -1]).all()


@pytest.mark.parametrize("where", [(64, 0, 5, 5), (-5, 0, 5, 5), (0, 48, 5, 5), (0, -6, 5, 5), (-50, -50, 300, 300)])
def test_a_box_beside_the_image_or_far_larger_has_no_crop(where):
    assert mot.cut(next(images()), box(*where)) is None


def test_a_video_becomes_a_data_set(video, tracks, tmp_path):
    assert mot.convert(video, tracks, tmp_path / "out", camera=3) == (4, 2, 1)
    split = custom.load(tmp_path / "out")
    assert not split.train
    assert not split.query
    assert [(t.person_id, t.camera_id, t.frames) for t in split.gallery] == [
        (3, 3, ("gallery/3/3/0001/0003_c3_f000002.jpg",)),
        (7, 3, tuple(f"gallery/7/3/0001/0007_c3_f00000{f}.jpg" for f in (1, 2, 5))),
    ]
    sources = list(images())
    for name, frame, left in zip(split.gallery[1].frames, (1, 2, 5), (10, 11, 12), strict=True):
        image = read_image(tmp_path / "out" / name)[..., ::-1]  # BGR, as the images were written
        assert image.shape == (20, 10, 3)
        expected = sources[frame - 1][4:24, left : left + 10].astype(int)
        assert np.abs(image.astype(int) - expected).mean() < 8  # JPEG, twice; a frame later is 40 off in a channel
    assert {p.name for p in tmp_path.iterdir()} == {"gt.txt", "out"}


def test_a_folder_of_images_is_a_video_and_a_part_can_be_chosen(tracks, tmp_path):
    (tmp_path / "img1").mkdir()
    for number, image in enumerate(images(), 1):
        cv2.imwrite(str(tmp_path / "img1" / f"{number}.png"), image)
    mot.convert(tmp_path / "img1", tracks, tmp_path / "out", subset="train")
    assert [t.person_id for t in custom.load(tmp_path / "out").train] == [3, 7]
    (tmp_path / "img1" / "2.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match="2.png: .*truncated"):
        mot.convert(tmp_path / "img1", tracks, tmp_path / "out2")
    assert not (tmp_path / "out2").exists()


def enormous():
    """A PNG that claims to be 60000 x 60000."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, b"IDAT", b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def cut_off():
    """A JPEG that ends in its middle."""
    whole = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))[1].tobytes()
    return whole[: len(whole) // 2]


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (lambda path: path.write_bytes(b""), "1.jpg: the image is empty"),
        (lambda path: path.write_bytes(cut_off()), "1.jpg: the image is truncated or damaged"),
        (
            lambda path: path.with_suffix(".png").write_bytes(enormous()),
            "1.png: the image has too many pixels: make it smaller",
        ),
        (lambda path: os.mkfifo(path), "1.jpg is a pipe, a socket or a device: remove it"),
        (lambda path: path.symlink_to("/dev/zero"), "1.jpg is or lies in a symbolic link that leads out of the root"),
        (lambda path: Path(os.fsdecode(os.fsencode(path.parent) + b"/\xff.jpg")).touch(), "a name that is not UTF-8"),
    ],
)
def test_images_that_are_none_are_reported(tracks, tmp_path, made, problem):
    (tmp_path / "img1").mkdir()
    made(tmp_path / "img1" / "1.jpg")
    with pytest.raises(InputError, match=re.escape(problem)):
        mot.convert(tmp_path / "img1", tracks, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["gt.txt", "img1"]


def test_a_track_file_that_is_a_pipe_is_not_waited_for(video, tmp_path):
    os.mkfifo(tmp_path / "gt.txt")
    with pytest.raises(InputError, match=r"gt.txt cannot be read .*a pipe"):
        mot.convert(video, tmp_path / "gt.txt", tmp_path / "out")


def test_what_a_killed_run_has_left_is_named(video, tracks, tmp_path):
    (tmp_path / ".out.b.77.part").mkdir()  # of another conversion, to out.b
    mot.convert(video, tracks, tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    (tmp_path / ".out.1234.part").mkdir()
    with pytest.raises(InputError, match=r"\.out\.1234\.part"):
        mot.convert(video, tracks, tmp_path / "out")


def test_an_interrupt_is_reported(video, tracks, tmp_path, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(mot, "cut", interrupted)
    assert status(mot.main, [f"--video={video}", f"--tracks={tracks}", f"--out={tmp_path / 'out'}"]) == 130
    assert capsys.readouterr().err.endswith("interrupted: nothing is written.\n")
    assert [p.name for p in tmp_path.iterdir()] == ["gt.txt"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("1,9,1,1,5", "line 7 ('1,9,1,1,5') has 5 numbers: expected frame,id,left,top,width,height,confidence"),
        ("frame,id,left,top,width,height", "contains something other than numbers"),
        ("1_0,9,1,1,5,5", "contains something other than numbers"),
        ("1 9 1 1 5 5", "contains something other than numbers"),
        ("0,9,1,1,5,5,1", "is of frame 0: expected a whole number of 1 or more"),
        ("1.5,9,1,1,5,5,1", "is of frame 1.5"),
        (
            "1,-1,1,1,5,5,1",
            "is of track -1: expected a whole number of 1 or more (this is a file of detections: run a",
        ),
        ("1,0,1,1,5,5,1", "is of track 0: expected a whole number of 1 or more (add a number to all ids)"),
        ("1,9,1,1,0,5,1", "has a box of 0 x 5 pixels"),
        ("1,9,nan,1,5,5,1", "has a number that is not finite or above 1e6"),
        ("1,9,1,1,5,inf,1", "has a number that is not finite or above 1e6"),
        ("1,9,1,1,5,5,1e400", "has a number that is not finite or above 1e6"),
        ("2,7,1,1,5,5,1", "line 7: track 7 is already in frame 2, by line 2"),
        ("6,9,1,1,5,5,1", "line 7: frame 6, but the video has 5 frames that can be read"),
        ("1,9,70,1,5,5,1", "line 7: the box is outside of the frame (64 x 48 pixels) or far larger"),
    ],
)
def test_a_wrong_line_is_named_and_nothing_is_left_behind(video, tracks, tmp_path, line, problem):
    tracks.write_text("\n".join([*LINES, line, "1,1,1,1,1"] if "numbers" in problem else [*LINES, line]))
    with pytest.raises(InputError) as caught:
        mot.convert(video, tracks, tmp_path / "out")
    assert str(caught.value).startswith(f"{tracks}: line 7")
    assert problem in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["gt.txt"]


def test_all_wrong_lines_are_counted(tracks):
    with pytest.raises(InputError, match="line 1 .*line 2 .*line 4 .*2 more"):
        mot.parse_tracks(b"a\nb\n\nc\nd\ne\n", "tracks.txt")


@pytest.mark.parametrize(
    ("text", "problem"),
    [(b"", "contains no track"), (b"1,1,1,1,1,1,0\n", "contains only 1 lines of confidence 0"), (b"\xff", "UTF-8")],
)
def test_a_file_without_tracks_is_reported(text, problem):
    with pytest.raises(InputError, match=problem):
        mot.parse_tracks(text, "tracks.txt")


def test_what_cannot_be_read_or_written_is_reported(video, tracks, tmp_path, monkeypatch):
    def message(video=video, tracks=tracks, out=tmp_path / "out"):
        with pytest.raises(InputError) as caught:
            mot.convert(Path(video), tracks, out)
        return str(caught.value)

    assert "the video http:/street.avi does not exist" in message(video="http://street.avi")
    assert f"the track file {tmp_path / 'no.txt'} cannot be read (No such file" in message(tracks=tmp_path / "no.txt")
    assert f"the folder {tmp_path / 'a'} does not exist" in message(out=tmp_path / "a" / "out")
    (tmp_path / "broken.avi").write_bytes(b"RIFF")
    assert f"{tmp_path / 'broken.avi'} cannot be opened: convert it" in message(video=tmp_path / "broken.avi")
    (tmp_path / "there").mkdir()
    assert "already exists, and nothing in it is overwritten: choose a new folder" in message(out=tmp_path / "there")

    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert "cannot be written (No space left on device)" in message()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["broken.avi", "gt.txt", "there"]


def test_from_a_shell(video, tracks, tmp_path):
    command = [sys.executable, "-m", "rgcn_jax.data.mot", f"--video={video}", f"--tracks={tracks}"]
    run = {"capture_output": True, "text": True, "check": False, "cwd": Path(__file__).parents[2]}
    done = subprocess.run([*command, f"--out={tmp_path / 'out'}"], **run)
    assert done.returncode == 0, done.stderr
    wrote = f"wrote 4 crops of 2 tracklets to {tmp_path / 'out' / 'gallery'}; next: "
    assert done.stdout.startswith(f"skipped 1 lines of confidence 0\n{wrote}")
    assert next_command(done.stdout)[:3] == ["detect", "--dataset=folder", f"--root={tmp_path / 'out'}"]
    again = subprocess.run([*command, f"--out={tmp_path / 'out'}"], **run)
    assert again.returncode == 2
    assert again.stderr.startswith(f"error: {tmp_path / 'out'} already exists")
    added = subprocess.run([*command, f"--out={tmp_path / 'out'}", "--add", "--camera=2", "--first-person=8"], **run)
    assert added.returncode == 0, added.stderr
    assert sorted(path.name for path in (tmp_path / "out" / "gallery").iterdir()) == ["3", "7", "8", "9"]


def people(root):
    return [(t.person_id, t.camera_id, len(t.frames)) for t in custom.load(root).gallery]


def test_another_camera_is_added(video, tracks, tmp_path):
    out = tmp_path / "out"
    mot.convert(video, tracks, out)
    shutil.move(out / "gallery" / "7", out / "gallery" / "0007")  # as other programs write it
    before = {path: path.read_bytes() for path in out.rglob("*.jpg")}
    assert mot.convert(video, tracks, out, camera=2, add=True) == (4, 2, 1)
    assert people(out) == [(3, 1, 1), (3, 2, 1), (7, 1, 3), (7, 2, 3)]
    mot.convert(video, tracks, out, camera=3, add=True, first_person=100)
    mot.convert(video, tracks, out, camera=2, subset="query", add=True)
    assert people(out)[4:] == [(100, 3, 1), (101, 3, 3)]
    assert (out / "gallery/101/3/0001/0101_c3_f000005.jpg").is_file()
    assert all(path.read_bytes() == data for path, data in before.items())
    assert sorted(path.name for path in out.iterdir()) == ["gallery", "query"]


def test_an_addition_overwrites_nothing(video, tracks, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(InputError, match="omit --add"):
        mot.convert(video, tracks, out, add=True)
    mot.convert(video, tracks, out)
    before = people(out)
    with pytest.raises(InputError, match=r"gallery/3/1 already exists"):
        mot.convert(video, tracks, out, add=True, first_person=50)
    tracks.write_text("1,9,70,1,5,5,1\n")
    with pytest.raises(InputError, match="line 1"):
        mot.convert(video, tracks, out, camera=2, add=True)
    assert people(out) == before
    assert [path.name for path in out.iterdir()] == ["gallery"]


def test_an_addition_that_was_killed_is_finished_by_the_same_command(video, tracks, tmp_path, monkeypatch):
    out, real, moves = tmp_path / "out", os.rename, []
    mot.convert(video, tracks, out)

    def dies(source, target):
        if len(moves) == 2:  # the staged folder, and the first person
            raise KeyboardInterrupt
        moves.append(target)
        real(source, target)

    monkeypatch.setattr(os, "rename", dies)
    with pytest.raises(KeyboardInterrupt):
        mot.convert(video, tracks, out, camera=2, add=True)
    assert people(out) == [(3, 1, 1), (3, 2, 1), (7, 1, 3)]
    monkeypatch.setattr(os, "rename", real)
    assert mot.convert(video, tracks, out, camera=2, add=True) == (4, 2, 1)
    assert people(out) == [(3, 1, 1), (3, 2, 1), (7, 1, 3), (7, 2, 3)]
    assert [path.name for path in out.iterdir()] == ["gallery"]


CORNERS = "".join(f"{f},1,5,4,15,24,1\n{f},2,30,10,60,45,1\n{f},3,44,8,62,44,1\n" for f in (1, 2))


def test_corners_in_place_of_width_and_height(video, tmp_path, capsys):
    (tmp_path / "t.txt").write_text(CORNERS)
    arguments = [f"--video={video}", f"--tracks={tmp_path / 't.txt'}", f"--out={tmp_path / 'out'}"]
    assert status(mot.main, arguments) == 2
    assert "--boxes=corners" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert status(mot.main, [*arguments, "--boxes=corners"]) == 0
    crop = read_image(next((tmp_path / "out/gallery/1").rglob("*.jpg")))
    assert crop.shape[:2] == (20, 10)
    assert status(mot.main, [*arguments[:2], f"--out={tmp_path / 'sizes'}", "--boxes=size"]) == 0
    assert read_image(next((tmp_path / "sizes/gallery/1").rglob("*.jpg"))).shape[:2] == (30, 15)


def test_confidences_beyond_their_range(tmp_path):
    with pytest.warns(UserWarning, match="1 of 2 confidences are above 1, up to 95"):
        boxes, left_out = mot.parse_tracks(b"1,1,5,4,15,24,95\n2,1,5,4,15,24,0.5\n3,1,5,4,15,24,0\n", "t.txt")
    assert (len(boxes), left_out) == (2, 1)
