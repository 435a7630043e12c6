"""A stand-in for RTMPose of a few kilobytes: keypoint k is where channel k mod 3 of the image is brightest."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write(path: Path, height: int = 256, width: int = 192, batch: int | str = "batch", keypoints: int = 17) -> Path:
    """Two bins a pixel, as RTMPose has; the second bin of a pixel is a little lower than its first."""
    constants = {
        "order": np.arange(keypoints) % 3,
        "below": np.array(0.001, np.float32),
    }
    nodes = []
    # For the profile along x the maximum over rows is taken (axis 2 of NCHW), along y over columns.
    for name, axis, length in (("x", 2, width), ("y", 3, height)):
        constants |= {
            f"over_{name}": np.array([axis], np.int64),
            f"shape_{name}": np.array([-1, keypoints, 2 * length], np.int64),
            f"last_{name}": np.array([3], np.int64),
        }
        nodes += [
            helper.make_node("ReduceMax", ["input", f"over_{name}"], [f"profile_{name}"], keepdims=0),
            helper.make_node("Gather", [f"profile_{name}", "order"], [f"first_{name}"], axis=1),
            helper.make_node("Sub", [f"first_{name}", "below"], [f"second_{name}"]),
            helper.make_node("Unsqueeze", [f"first_{name}", f"last_{name}"], [f"a_{name}"]),
            helper.make_node("Unsqueeze", [f"second_{name}", f"last_{name}"], [f"b_{name}"]),
            helper.make_node("Concat", [f"a_{name}", f"b_{name}"], [f"bins_{name}"], axis=3),
            helper.make_node("Reshape", [f"bins_{name}", f"shape_{name}"], [f"simcc_{name}"]),
        ]
    graph = helper.make_graph(
        nodes,
        "brightest",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 3, height, width])],
        [
            helper.make_tensor_value_info("simcc_x", TensorProto.FLOAT, [batch, keypoints, 2 * width]),
            helper.make_tensor_value_info("simcc_y", TensorProto.FLOAT, [batch, keypoints, 2 * height]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path
