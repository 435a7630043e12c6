"""The same people in every form that is read give the same keypoints, however the format is named."""

import json

import numpy as np
import pytest

from rgcn_jax.data.keypoints.formats import FORMATS, read, recognise
from rgcn_jax.data.keypoints.openpose import write_folder
from rgcn_jax.data.keypoints.store import save
from rgcn_jax.errors import InputError
from rgcn_jax.skeleton import to_14

SIZE = np.array([[256, 128]])
FRAMES = [f"d/{name}.jpg" for name in "abcdef"]
PARTS = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
COCO17 = ["nose", *(f"{side}_{part}" for part in PARTS for side in ("left", "right"))]


def _people():
    """COCO-17 of six frames, in the sixth of which nobody is."""
    people = (np.random.default_rng(0).uniform(0.1, 0.9, (6, 17, 3)) * [128, 256, 1]).astype(np.float32)
    people[1, 5] = 0
    people[5] = 0
    return people


def _expected():
    return to_14(_people(), "coco17")


def _coco18(person):
    """AlphaPose's own conversion, by its order of keypoints."""
    with_neck = np.concatenate([person, _neck(person)[None]])
    return with_neck[[0, 17, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3]]


def _neck(person):
    return to_14(person, "coco17")[1]


def _json(path, contents):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(contents))


def _openpose(root):
    write_folder(root / "openpose", FRAMES, _expected())
    return root / "openpose"


def _mmpose(root):
    for frame, person in zip(FRAMES, _people().tolist(), strict=True):
        found = [{"keypoints": [p[:2] for p in person], "keypoint_scores": [p[2] for p in person]}]
        _json(root / "mmpose" / f"{frame[:-4]}.json", found if np.any(person) else [])
    return root / "mmpose"


def _alphapose(root):
    results = [
        {"image_id": f[2:], "keypoints": p.ravel().tolist()} for f, p in zip(FRAMES[:5], _people(), strict=False)
    ]
    _json(root / "alphapose-results.json", results)
    return root / "alphapose-results.json"


def _agrl(root):
    bodies = {
        f[2:]: {"bodies": [{"joints": _coco18(p).ravel().tolist()}]}
        for f, p in zip(FRAMES[:5], _people(), strict=False)
    }
    _json(root / "pose.json", bodies)
    return root / "pose.json"


def _csv(root):
    header = ["image_name", *(f"{name}_{of}" for name in COCO17 for of in ("x", "y", "conf"))]
    rows = [[frame[2:], *person.ravel().tolist()] for frame, person in zip(FRAMES[:5], _people(), strict=False)]
    (root / "poses.csv").write_text("\n".join(",".join(map(str, row)) for row in [header, *rows]))
    return root / "poses.csv"


def _arrays(root):
    np.savez(root / "arrays.npz", names=FRAMES, keypoints=_people())
    return root / "arrays.npz"


def _store(root):
    save(root / "store.npz", FRAMES, _expected())
    return root / "store.npz"


def _yolo(root):
    """Ultralytics' label files: normalised, and no file where nobody is."""
    (root / "yolo/d").mkdir(parents=True)
    for frame, person in zip(FRAMES[:5], _people() / [128, 256, 1], strict=False):
        numbers = " ".join(f"{value:.9f}" for value in person.ravel())
        (root / "yolo" / f"{frame[:-4]}.txt").write_text(f"0 0.5 0.5 1 1 {numbers}\n")
    return root / "yolo"


WRITERS = {
    "openpose": _openpose,
    "mmpose": _mmpose,
    "alphapose": _alphapose,
    "agrl": _agrl,
    "csv": _csv,
    "arrays": _arrays,
    "store": _store,
    "yolo": _yolo,
}


LEAVES_OUT = ("alphapose", "agrl", "csv", "yolo")  # no entry for frames without people


def test_every_form_is_tested():
    assert list(WRITERS) == list(FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_people_in_every_form(tmp_path, name):
    path = WRITERS[name](tmp_path)
    assert recognise(path) == name
    for form in (None, name):
        found = read(path, FRAMES, SIZE, form)
        np.testing.assert_allclose(found.pixels, _expected(), rtol=1e-6 if name == "yolo" else 0)
        assert found.has_entry.tolist() == [True] * 5 + [name not in LEAVES_OUT]


@pytest.mark.parametrize("name", LEAVES_OUT)
def test_half_a_data_set_is_not_taken_for_empty(tmp_path, name):
    path = WRITERS[name](tmp_path)
    more = [*FRAMES, *(f"e/{i}.jpg" for i in range(3))]
    with pytest.raises(InputError, match="4 of the 9 frames.* d/f.jpg") as caught:
        read(path, more, SIZE)
    assert "convert it with a lower --least-share" in str(caught.value)
    assert read(path, more, SIZE, least_share=0.5).has_entry.sum() == 5
    assert read(path, more[:7], SIZE).has_entry.sum() == 5


def test_the_form_can_be_said_and_must_fit(tmp_path):
    with pytest.raises(InputError, match="'coco' is no format .*openpose, mmpose"):
        read(_arrays(tmp_path), FRAMES, SIZE, "coco")
    with pytest.raises(InputError, match="openpose .*folder.*arrays.npz is a file"):
        read(_arrays(tmp_path), FRAMES, SIZE, "openpose")
    with pytest.raises(InputError, match="csv .* is a folder"):
        read(_mmpose(tmp_path), FRAMES, SIZE, "csv")
    with pytest.raises(InputError, match=r"but there is nothing of that name"):
        read(tmp_path / "none", FRAMES, SIZE, "csv")
    with pytest.raises(InputError, match="missing for|any of the 6 frames"):
        read(_mmpose(tmp_path), FRAMES, SIZE, "openpose")
    with pytest.raises(InputError, match="AlphaPose's results are a list"):
        read(_agrl(tmp_path), FRAMES, SIZE, "alphapose")
    with pytest.raises(InputError, match="no header.* version 1"):
        read(_arrays(tmp_path), FRAMES, SIZE, "store")


def test_what_has_no_form_is_told_all_of_them(tmp_path):
    (tmp_path / "a.txt").touch()
    (tmp_path / "a.json").write_text("3")
    for name, found in (
        ("a.txt", "a file of another kind"),
        ("a.json", "neither a list nor an object"),
        ("b", "nothing"),
    ):
        with pytest.raises(InputError) as caught:
            recognise(tmp_path / name)
        assert found in str(caught.value)
        assert all(form.what in str(caught.value) for form in FORMATS.values())


def test_a_folder_is_told_by_its_own_files_first(tmp_path):
    (tmp_path / "d").mkdir()
    assert recognise(tmp_path) == "openpose"  # whose reader says what is missing
    (tmp_path / "d/x.json").touch()
    assert recognise(tmp_path) == "mmpose"
    (tmp_path / "d/x_keypoints.json").touch()
    assert recognise(tmp_path) == "openpose"
    (tmp_path / "x.json").touch()
    assert recognise(tmp_path) == "mmpose"
