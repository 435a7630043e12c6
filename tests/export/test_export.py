"""The command ``rgcn-jax export``: what it writes, each format by its own runtime, and what it refuses."""

import importlib.util
import json
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest

import rgcn_jax
from rgcn_jax import evaluate
from rgcn_jax.calibration import Calibration, settings_of, write_calibration
from rgcn_jax.config import DataConfig
from rgcn_jax.data.load import open_data
from rgcn_jax.evaluation import protocol
from rgcn_jax.evaluation.embed import Cutting, to_embeddings, tracklet_means
from rgcn_jax.evaluation.embed_step import ClipFeatures
from rgcn_jax.evaluation.feature_set import read_features
from rgcn_jax.evaluation.scorer import score
from rgcn_jax.export.__main__ import main
from rgcn_jax.export.formats import FORMATS, run_script
from rgcn_jax.runtime.npz import write_arrays
from tests import mars_folder, tiny
from tests.commands import REPOSITORY, fails, status
from tests.export import saved

pytestmark = [pytest.mark.jit, pytest.mark.slow]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(the model, its export in every format): RGCN with standardized distances, evaluated and calibrated."""
    folder = tmp_path_factory.mktemp("export")
    model = saved.write(folder / "run", distance="standardized", pose_weight=0.5)
    point = {"tpr": 80.0, "interval": [70.5, 90.25], "fpr": 0.1, "threshold": 0.625}
    row = {"tpr_at_fpr": {"0.001": point, "0.0001": None}, "genuine_pairs": 40, "impostor_pairs": 9000}
    settings = settings_of(model.config.evaluation)
    write_calibration(Calibration(folder / "run" / "calibration.json", model.hash, "mars", settings, {"fused": row}))
    counts = {"people": 4, "tracklets": 16, "frames": 66}
    result = {
        "step": 7,
        "fused": {"mAP": 61.25, "rank1": 75.0, "intervals": {"mAP": [50.0, 70.0], "rank1": None}},
        **{"data_set": "mars", "protocol": "official", "distance": "standardized", "clips": "dense"},
        **{"gallery": 17, "valid_queries": 8, "skipped_queries": 3, "chance_rank1": 13.3},
        "data": {
            "name": "mars",
            "partition": "",
            "sha256": "5eed",
            **dict.fromkeys(("train", "query", "gallery", "junk"), counts),
        },
    }
    (folder / "run" / "results.json").write_text(json.dumps(result))
    (folder / "run" / "evaluations").mkdir()
    other = {**result, "step": 6, "fused": {"mAP": 11.1}}
    (folder / "run" / "evaluations" / "other.json").write_text(json.dumps(other))
    with jax.disable_jit(False):
        arguments = [f"--model={folder}/run", "--to=folder,stablehlo,onnx,savedmodel", f"--out={folder}/shared"]
        assert status(main, [*arguments, "--licence=CC-BY-NC-4.0"]) == 0
    return model, folder / "shared"


def test_the_folder_is_the_model(exported):
    model, folder = exported
    described = {"README.md", "calibration.json", "config.json", "export.json"}
    models = {"model.onnx", "model.safetensors", "model.stablehlo", "savedmodel"}
    assert {path.name for path in folder.iterdir()} == described | models
    before, after = rgcn_jax.load(model.path, num_devices=1), rgcn_jax.load(folder, num_devices=1)
    assert (after.hash, after.step) == (before.hash, 7)
    batch = tiny.batch()
    a, b = (embedder(list(batch["frames"]), list(batch["keypoints"])) for embedder in (before, after))
    for name in ("appearance", "pose", "fused"):
        np.testing.assert_array_equal([getattr(x, name) for x in a], [getattr(x, name) for x in b])
    assert after.calibration is not None
    assert after.calibration.threshold(after.hash, after.config.evaluation, "fused", 1e-3) == 0.625
    assert "somebody" not in "".join(path.read_text() for path in folder.glob("*.json"))
    assert (folder / "model.safetensors").stat().st_mode & 0o044 == (folder / "config.json").stat().st_mode & 0o044


def test_the_card_says_what_is_known(exported):
    model, folder = exported
    card = (folder / "README.md").read_text()
    assert 'license: "CC-BY-NC-4.0"' in card
    assert model.hash in card
    assert "| fused | 61.2 [50.0, 70.0] | 75.0 |" in card
    assert "8 valid queries, 3 skipped, gallery of 17" in card
    assert "11.1" not in card  # of another step
    assert "| train | 4 | 16 | 66 |" in card
    assert "| 0.001 | 0.625 | 80.0 [70.5, 90.2] |" in card
    assert "| 0.0001 | too few pairs |" in card
    assert "rgcn_jax.load" in card
    assert "personal data" in card


def test_the_convention_is_written_down(exported):
    _, folder = exported
    known = json.loads((folder / "export.json").read_text())
    assert [(of["name"], of["dtype"], of["shape"]) for of in known["inputs"]] == [
        ("frames", "uint8", ["B", 3, 32, 16, 3]),
        ("keypoints", "float32", ["B", 3, 14, 3]),
        ("frame_mask", "bool", ["B", 3]),
    ]
    assert [(of["name"], of["shape"]) for of in known["outputs"]] == [
        ("appearance", ["B", 16]),
        ("pose", ["B", 16]),
        ("fused", ["B", 32]),
    ]
    assert set(known["formats"]) == set(FORMATS)
    assert max(e for of in known["formats"].values() for e in of["errors"].values()) < 1e-5


def test_the_examples_of_the_documentation_run(exported, tmp_path):
    """In processes that do not import this package: each format by its own runtime, and the fusion in NumPy."""
    _, folder = exported
    shutil.copytree(folder, tmp_path / "mars-model")
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "export.md").read_text(), re.DOTALL)
    assert len(blocks) == 5
    shown = []
    for block in blocks:
        code = f"{block}\nimport sys\nassert 'rgcn_jax' not in sys.modules\n"
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        shown.append(done.stdout.strip())
    assert shown[1:4] == ["(2, 32)"] * 3


def test_each_export_scores_a_data_set_as_the_model_does(exported, tmp_path):
    """The features of all test tracklets by each runtime; the rows of the evaluation of the model, no more, no less."""
    _, folder = exported
    root = mars_folder.write(tmp_path / "mars")
    data_flags = ["--dataset=mars", f"--root={root}", f"--keypoints={root}/openpose"]
    flags = [f"--model={folder}", *data_flags, f"--save-features={tmp_path}/f.npz", f"--out={tmp_path}/rows.json"]
    assert status(evaluate.main, flags) == 0
    expected = json.loads((tmp_path / "rows.json").read_text())
    features = read_features(tmp_path / "f.npz")

    config = rgcn_jax.load(folder, num_devices=1).config
    data = open_data(DataConfig("mars", str(root), keypoints=f"{root}/openpose"), config.frame_size, True, ())
    tracklets, _ = protocol.test_tracklets(data.split)
    plans = list(Cutting("dense", config.frames_per_clip, 8).plans(tracklets))
    batches = list(data.read(plans))
    inputs = {name: np.concatenate([b[name] for b in batches]) for name in ("frames", "keypoints", "frame_mask")}
    write_arrays(tmp_path / "clips.npz", inputs)
    for name, format in FORMATS.items():
        sizes = ",".join(["8"] * len(plans))
        run_script(f"run.py {name}", folder / format.file, tmp_path / "clips.npz", tmp_path / "out.npz", sizes)
        with np.load(tmp_path / "out.npz") as file:
            appearance, pose, _ = file.values()
        clips = ClipFeatures(appearance, pose, {})
        means = list(tracklet_means([(np.concatenate([p.index for p in plans]), clips)]))
        found = replace(features, embeddings=to_embeddings(tracklets, means))
        np.testing.assert_allclose(found.embeddings.pose, features.embeddings.pose, rtol=0, atol=1e-5)
        assert score(found, config.evaluation).rows == {row: expected[row] for row in ("appearance", "pose", "fused")}


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "LGCN AA normalized": ({"pose": "LGCN", "appearance": "AA", "distance": "normalized"}, "stablehlo,onnx"),
    "no pose": ({"pose": "none"}, "stablehlo,onnx"),
    "precomputed bfloat16": ({"appearance": "precomputed", "dtype": "bfloat16"}, "onnx,savedmodel"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_models(name, tmp_path, capsys):
    fields, formats = OTHERS[name]
    model = saved.write(tmp_path / "run", **fields)
    assert status(main, [f"--model={tmp_path}/run", f"--to={formats}", f"--out={tmp_path}/shared"]) == 0
    assert ("float32" in capsys.readouterr().out) == (model.config.dtype == "bfloat16")
    known = json.loads((tmp_path / "shared" / "export.json").read_text())
    assert sorted(known["formats"]) == sorted(formats.split(","))
    assert [of["name"] for of in known["inputs"]] == [
        "features" if fields.get("appearance") == "precomputed" else "frames",
        *(["keypoints"] if fields.get("pose") != "none" else []),
        "frame_mask",
    ]
    assert ("pose" in {of["name"] for of in known["outputs"]}) == (fields.get("pose") != "none")
    card = (tmp_path / "shared" / "README.md").read_text()
    assert "not stated" in card
    assert "Not calibrated" in card
    assert rgcn_jax.load(tmp_path / "shared", num_devices=1).hash == model.hash


def nothing_is_left(folder):
    return sorted(path.name for path in folder.iterdir()) == ["run"]


@pytest.fixture
def tiny_model(tmp_path):
    saved.write(tmp_path / "run", appearance="precomputed")
    return [f"--model={tmp_path}/run", f"--out={tmp_path}/shared"]


def test_bad_arguments_are_refused(tiny_model, tmp_path, capsys, monkeypatch):
    assert "coreml" in fails(main, [*tiny_model, "--to=onnx,coreml"], capsys)
    assert "exists" in fails(main, [*tiny_model, f"--out={tmp_path}/run"], capsys)
    assert "nowhere" in fails(main, [*tiny_model, f"--out={tmp_path}/nowhere/model"], capsys)
    assert "no model" in fails(main, [*tiny_model, f"--model={tmp_path}"], capsys)
    left = tmp_path / ".shared.12345.part"
    left.mkdir()
    assert left.name in fails(main, tiny_model, capsys)
    left.rmdir()
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else real(name))
    assert "rgcn_jax[export]" in fails(main, [*tiny_model, "--to=onnx"], capsys)
    assert nothing_is_left(tmp_path)


def test_an_export_that_differs_is_not_written(tiny_model, tmp_path, capsys, monkeypatch):
    def write_scaled(function, path):
        call = lambda *x: tuple(y * 1.001 for y in function.call(*x))  # noqa: E731
        FORMATS["onnx"].write(function._replace(call=call), path)

    changed = {**FORMATS, "onnx": FORMATS["onnx"]._replace(write=write_scaled)}
    monkeypatch.setattr("rgcn_jax.export.write.FORMATS", changed)
    error = fails(main, [*tiny_model, "--to=onnx"], capsys)
    assert "appearance" in error
    assert "1.0e-03" in error
    assert nothing_is_left(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_export_leaves_nothing(number, tiny_model, tmp_path, monkeypatch, capsys):
    def interrupted(function, path):
        path.write_bytes(b"half")
        signal.raise_signal(number)

    changed = {**FORMATS, "onnx": FORMATS["onnx"]._replace(write=interrupted)}
    monkeypatch.setattr("rgcn_jax.export.write.FORMATS", changed)
    before = signal.getsignal(number)
    assert status(main, [*tiny_model, "--to=onnx"]) == 128 + number
    assert signal.getsignal(number) == before
    assert "nothing was exported" in capsys.readouterr().err
    assert nothing_is_left(tmp_path)


PLUG_IN = """
import flax.linen as nn


class EveryFrameAlone(nn.Module):
    features: int
    dtype: object = None

    @nn.compact
    def __call__(self, keypoints, mask=None, train=False):
        return nn.Dense(self.features)(keypoints)
"""


def test_a_model_with_a_part_of_ones_own_is_exported_where_its_module_may_be_imported(tmp_path, monkeypatch, capsys):
    (tmp_path / "own_parts.py").write_text(PLUG_IN)
    monkeypatch.syspath_prepend(tmp_path)
    model = saved.write(tmp_path / "run", appearance="precomputed", pose="own_parts:EveryFrameAlone")
    command = [f"--model={tmp_path}/run", f"--out={tmp_path}/shared", "--to=onnx"]
    assert "--allow-import=own_parts" in fails(main, command, capsys)
    assert not (tmp_path / "shared").exists()
    assert status(main, [*command, "--allow-import=own_parts"]) == 0
    known = json.loads((tmp_path / "shared" / "export.json").read_text())
    assert max(known["formats"]["onnx"]["errors"].values()) < 1e-5
    shared = rgcn_jax.load(tmp_path / "shared", num_devices=1, allow_imports=["own_parts"])
    assert shared.hash == model.hash


def test_a_damaged_file_is_reported_in_one_sentence(tiny_model, tmp_path, capsys, monkeypatch):
    damaged = FORMATS["onnx"]._replace(write=lambda function, path: path.write_bytes(b"no model"))
    monkeypatch.setattr("rgcn_jax.export.write.FORMATS", {**FORMATS, "onnx": damaged})
    assert "run.py onnx" in fails(main, [*tiny_model, "--to=onnx"], capsys)
    assert nothing_is_left(tmp_path)
