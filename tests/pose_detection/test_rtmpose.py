"""RTMPose's way in and out, with a model that answers where a channel is brightest."""

import numpy as np
import onnx
import pytest

from rgcn_jax.errors import InputError
from rgcn_jax.pose_detection.rtmpose import MEAN, STD, RTMPose
from tests.pose_detection import onnx_model


def _dots(height, width, *places):
    """A black crop with one dot in each of red, green and blue; a dot is three pixels wide, its middle is brightest."""
    crop = np.zeros((height, width, 3), np.uint8)
    for channel, (x, y) in enumerate(places):
        crop[y - 1 : y + 2, x - 1 : x + 2, channel] = 150
        crop[y, x, channel] = 250
    return crop


PLACES = ((20, 30), (70, 150), (50, 90))


@pytest.mark.parametrize("batch", ["batch", 1])
def test_pixels_of_the_crop_come_out_where_nothing_is_scaled(tmp_path, batch):
    # 205 x 1.25 = 256 rows: the input's own.
    detector = RTMPose(onnx_model.write(tmp_path / "m.onnx", batch=batch), 1.25, 1)
    crops = [_dots(205, 100, *PLACES), _dots(205, 150, *PLACES[::-1])]
    found = detector(crops)
    assert found.shape == (2, 17, 3)
    for keypoint in range(17):
        middle = np.array(PLACES) + 0.5
        np.testing.assert_allclose(found[0, keypoint, :2], middle[keypoint % 3])
        np.testing.assert_allclose(found[1, keypoint, :2], middle[::-1][keypoint % 3])
        # RGB, each channel with its own mean and deviation.
        np.testing.assert_allclose(found[0, keypoint, 2], ((250 - MEAN) / STD)[keypoint % 3], rtol=1e-5)


@pytest.mark.parametrize("size", [(128, 64), (256, 128), (500, 260)])
@pytest.mark.parametrize("margin", [1.0, 1.25])
def test_pixels_of_the_crop_come_out_at_any_size(tmp_path, size, margin):
    detector = RTMPose(onnx_model.write(tmp_path / "m.onnx", 384, 288), margin, 1)
    x, y = int(0.3 * size[1]), int(0.7 * size[0])
    rows, columns = np.arange(size[0])[:, None], np.arange(size[1])
    bell = (250 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (size[0] / 40) ** 2)).astype(np.uint8)
    found = detector([np.repeat(bell[..., None], 3, axis=2)])[0]
    assert np.all(np.abs(found[:, :2] - (x + 0.5, y + 0.5)) <= max(1.0, 1.6 * size[0] * margin / 384))


def test_a_batch_gives_what_single_crops_give(tmp_path):
    detector = RTMPose(onnx_model.write(tmp_path / "m.onnx"), 1.25, 1)
    rng = np.random.default_rng(1)
    crops = [rng.integers(0, 256, (h, w, 3)).astype(np.uint8) for h, w in ((128, 64), (200, 80), (50, 60))]
    np.testing.assert_array_equal(detector(crops), np.concatenate([detector([crop]) for crop in crops]))


def test_other_models_are_refused(tmp_path):
    with pytest.raises(InputError, match="absent.onnx.*RTMPose"):
        RTMPose(tmp_path / "absent.onnx", 1.25, 1)
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(InputError, match="text.onnx .*ONNX"):
        RTMPose(tmp_path / "text.onnx", 1.25, 1)
    whole_body = onnx_model.write(tmp_path / "m.onnx", keypoints=133)
    with pytest.raises(InputError, match="17 keypoints.* 192 x 256"):
        RTMPose(whole_body, 1.25, 1)
    echo = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["a"], ["b"])], "echo", [echo("a", 1, [2, 3])], [echo("b", 1, [2, 3])]
    )
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9),
        str(tmp_path / "echo.onnx"),
    )
    with pytest.raises(InputError, match=r"simcc_x .*simcc_y.* a \[2, 3\] and b \[2, 3\]"):
        RTMPose(tmp_path / "echo.onnx", 1.25, 1)
