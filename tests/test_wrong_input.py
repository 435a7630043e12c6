"""Wrong input to the command that trains: one line on stderr, status 2, and no work directory."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from rgcn_jax import main
from rgcn_jax.config import DataConfig
from rgcn_jax.data.datasets import mars
from rgcn_jax.data.load import open_data
from tests import mars_folder
from tests.commands import REPOSITORY, fails, module


@pytest.fixture(autouse=True)
def _from_the_repository(monkeypatch):
    monkeypatch.chdir(REPOSITORY)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return mars_folder.write(tmp_path_factory.mktemp("data") / "MARS")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--config.model.poze=LGCN"], "unknown config field 'model.poze': did you mean model.pose"),
        (["--config.margin=1"], "did you mean loss.margin"),
        (["--config.model=RGCN"], "unknown config field 'model'"),
        (["--config.seed=abc"], "--config.seed=abc: invalid literal for int()"),
        (["--config.loss.margin=abc"], "loss.margin is 'abc': expected soft or a number"),
        (["--config.loss.weight_gradient=maybe"], "Non-boolean argument to boolean flag"),
        (["--config.model.stage_sizes=abc"], "model.stage_sizes is (1, 'abc'): expected whole numbers"),
        (["--config.seed"], "Missing value for flag --config.seed"),
        (["seed=1"], "unexpected argument 'seed=1'"),
        (["--sed=1"], "unknown flag --sed"),
        (["--config.frames_per_clip=0"], "frames_per_clip is 0: expected a whole number of 1 or more"),
        (["--config.batch.identities=0"], "batch.identities is 0: expected a whole number of 1 or more"),
        (["--config.augment.crop_scale=0.5"], "augment.crop_scale is 0.5: expected a number of 1 or more"),
        (["--config.augment.flip_probability=nan"], "augment.flip_probability is nan: expected a number from 0 to 1"),
        (["--config.parallel.num_devices=-1"], "parallel.num_devices is -1: expected a whole number of 0 or more"),
        (["--config.num_steps=0"], "num_steps and num_epochs are both 0"),
        (["--config.on_nonfinite=ignore"], "on_nonfinite is 'ignore': expected one of stop, skip"),
        (["--config.parallel.num_devices=3"], "makes batches of 4 clips, which 3 devices"),
        (["--config.parallel.num_devices=99"], "parallel.num_devices is 99, but JAX sees 8 cpu"),
        (["--config.batch.identities=9"], "batch.identities is 9, but the training set has 4 identities"),
        (["--config.data.name=mors"], "data.name is 'mors': expected one of walkers, mars"),
        (["--config.data.root="], "data.root is empty"),
        (["--config.data.root=/nowhere/at/all"], "MARS not found: /nowhere/at/all does not exist"),
        (["--config.data.keypoints="], "data.keypoints is empty, but the model has a pose branch"),
        (["--config.data.keypoints=/nowhere"], "Keypoints not found at /nowhere"),
        (["--config.model.appearance=XX"], "model.appearance is 'XX': expected one of AP, AA, AA-conv, RA, BiC, pre"),
        (["--config.model.pose=XX"], "model.pose is 'XX': expected one of none, RGCN, LGCN"),
        (["--config.model.readout=XX"], "model.readout is 'XX': expected one of DAM, NAM, TAM, mean"),
        (["--config.model.pose_features=15"], "model.pose_features is 15, which the readout DAM"),
        (["--config.dtype=float16"], "dtype is 'float16': expected one of float32, bfloat16"),
        (["--config.evaluation.protocol=XX"], "evaluation.protocol is 'XX': expected one of official"),
        (["--config.evaluation.distance=XX"], "evaluation.distance is 'XX': expected one of euclidean"),
        (["--config.evaluation.clips=XX"], "evaluation.clips is 'XX': expected one of dense, even"),
    ],
    ids=lambda value: value[0].removeprefix("--config.") if isinstance(value, list) else "",
)
def test_a_wrong_setting_is_one_sentence(overrides, message, root, tmp_path, capsys):
    workdir = tmp_path / "run"
    arguments = mars_folder.arguments(root, f"--workdir={workdir}", *overrides)
    assert message in fails(main.main, arguments, capsys)
    assert not workdir.exists()


def test_junk_without_keypoints_is_left_out_and_said(root, capsys):
    split = mars.load(root)
    assert split.junk, "the folder that the tests write must have junk for this test to mean anything"
    folder = Path(root)
    bare = folder.parent / "bare"
    shutil.copytree(folder, bare)
    for tracklet in split.junk:
        for frame in tracklet.frames:
            for file in (bare / "openpose").rglob(f"{Path(frame).stem}_keypoints.json"):
                file.unlink()
    data = open_data(DataConfig("mars", str(bare), keypoints=str(bare / "openpose")), (32, 16), with_pose=True)
    assert not data.split.junk
    assert "junk_kept is omitted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "has no attribute 'get_config'"),
        ("def get_config(:", "SyntaxError"),
        ("def get_config():\n    return 1 / 0", "ZeroDivisionError"),
        ("def get_config():\n    return {}", "get_config() must return a ConfigDict, found dict"),
    ],
)
def test_a_wrong_config_file_is_one_sentence(text, message, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(text)
    error = fails(main.main, [f"--config={tmp_path}/mine.py"], capsys)
    assert message in error
    assert "mine.py" in error


def test_a_config_file_that_is_not_there_is_told_with_those_that_are(capsys):
    for name in ("configs/marz.py", "marz", "marz.py", "x" * 300, "~nobody_at_all/a.py"):
        error = fails(main.main, [f"--config={name}"], capsys)
        assert f"--config={name}: " in error
        assert all(path.stem in error for path in Path("configs").glob("*.py"))


def _mix(root):
    rows = loadmat(root / "info/tracks_train_info.mat")["track_train_info"].astype(np.int32)
    rows[0, 1] += 1
    rows[1, 0] += 1
    savemat(root / "info/tracks_train_info.mat", {"track_train_info": rows})


def _one_camera(root):
    """Only camera 1 is left in the test set: no query has anything to find."""
    rows = loadmat(root / "info/tracks_test_info.mat")["track_test_info"].astype(np.int32)
    names = (root / "info/test_name.txt").read_text().split()
    kept = [row for row in rows if row[3] == 1 and row[2] > 0]
    lines = [names[row[0] - 1 : row[1]] for row in kept]
    ends = np.cumsum([len(line) for line in lines])
    new = np.array([[e - len(n) + 1, e, row[2], row[3]] for e, n, row in zip(ends, lines, kept, strict=True)], np.int32)
    (root / "info/test_name.txt").write_text("".join(f"{name}\n" for line in lines for name in line))
    savemat(root / "info/tracks_test_info.mat", {"track_test_info": new})
    savemat(root / "info/query_IDX.mat", {"query_IDX": np.array([[1, 3]], np.uint16)})


def _edit_keypoints(change):
    def spoil(root):
        for file in (root / "openpose").rglob("*.json"):
            content = json.loads(file.read_text())
            for person in content["people"]:
                person["pose_keypoints_2d"] = change(person["pose_keypoints_2d"])
            file.write_text(json.dumps(content))

    return spoil


def _empty_keypoints(root):
    shutil.rmtree(root / "openpose")
    (root / "openpose").mkdir()


SPOILED = {
    "no info folder": (lambda r: shutil.rmtree(r / "info"), "has no folder info"),
    "a mixed tracklet": (_mix, "is a tracklet that mixes"),
    "an absent frame": (lambda r: next((r / "bbox_train").rglob("*F002.jpg")).unlink(), "are absent; the first is"),
    "no test match": (_one_camera, "no query has a match|None of|no match"),
    "no keypoint files": (_empty_keypoints, "openpose"),
    "one keypoint file absent": (lambda r: next((r / "openpose").rglob("*.json")).unlink(), "openpose"),
    "another skeleton": (_edit_keypoints(lambda k: k[:51]), "BODY_25|COCO|17"),
    "keypoints not finite": (_edit_keypoints(lambda k: [float("nan"), *k[1:]]), "finite"),
    "no frame of one person": (lambda r: shutil.rmtree(sorted((r / "bbox_test").iterdir())[-1]), "are absent"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", SPOILED)
def test_a_spoiled_data_set_is_one_sentence(what, root, tmp_path, capsys):
    spoiled = Path(shutil.copytree(root, tmp_path / "MARS"))
    spoil, message = SPOILED[what]
    spoil(spoiled)
    arguments = mars_folder.arguments(spoiled, f"--workdir={tmp_path / 'run'}")
    error = fails(main.main, arguments, capsys)
    assert re.search(message, error), error
    assert not (tmp_path / "run").exists()


def test_from_a_shell_too_an_error_is_one_sentence_and_status_2():
    process = module("rgcn_jax.main", "--config=configs/mars.py")
    assert process.returncode == 2
    assert process.stderr == (
        "error: data.root is empty: set it to the folder of the data set, --config.data.root=/path/to/mars.\n"
    )
    assert process.stdout == ""


def test_without_tensorflow_a_folder_cannot_be_read_and_it_says_what_to_install(root):
    code = (
        "import sys; sys.modules['tensorflow'] = None\n"
        "from rgcn_jax.command import run_command; from rgcn_jax.main import main; run_command(main)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, *mars_folder.arguments(root)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 2
    assert process.stderr.startswith(
        "error: Reading a data set from disk needs TensorFlow, which is not installed: pip"
    )
    assert process.stderr.count("\n") == 1
