"""A stand-in for MoveNet: a TensorFlow.js graph model of a few kilobytes that answers where a channel is brightest.

It begins with the convolutions that TensorFlow.js melts with what follows, one of them depthwise.
"""

import json
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf import json_format

SIZE = 64
# What the two convolutions do to a pixel (r, g, b): the first swaps red and green, the second scales and offsets.
SCALES, OFFSETS = np.array([0.5, 0.25, 0.125], np.float32), np.array([0.0, 1.0, 2.0], np.float32)
_SWAP = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]], np.float32)[None, None]


def _graph() -> tf.Graph:
    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.int32, (1, SIZE, SIZE, 3), name="input")
        mixed = tf.nn.conv2d(tf.cast(image, tf.float32), tf.constant(_SWAP), 1, "SAME", name="mix")
        mixed = tf.nn.relu(tf.nn.bias_add(mixed, tf.constant(np.zeros(3, np.float32)), name="mix/b"), name="mix/r")
        kernel = tf.constant(SCALES[None, None, :, None])
        scaled = tf.nn.depthwise_conv2d(mixed, kernel, (1, 1, 1, 1), "SAME", name="scale")
        scaled = tf.nn.bias_add(scaled, tf.constant(OFFSETS), name="scale/b")
        flat = tf.reshape(scaled, (SIZE * SIZE, 3))
        best = tf.argmax(flat, 0, tf.int32)
        y = best // SIZE
        x = best - y * SIZE
        value = tf.gather_nd(flat, tf.stack([best, tf.constant([0, 1, 2])], -1))
        place = [(tf.cast(part, tf.float32) + 0.5) * (1 / SIZE) for part in (y, x)]
        three = tf.stack([*place, value * (1 / 256)], -1)
        seventeen = tf.gather_nd(three, tf.constant(np.arange(17, dtype=np.int32)[:, None] % 3))
        tf.identity(tf.reshape(seventeen, (1, 1, 17, 3)), name="Identity")
    return graph


def write(path: Path) -> Path:
    """Keypoint k is at the brightest pixel of channel k mod 3 of what the convolutions give; its confidence is that
    brightness by 256. The weights go beside ``path``, floats stored as float16.
    """
    nodes = {node["name"]: node for node in json_format.MessageToDict(_graph().as_graph_def())["node"]}
    for last, first, melted, after in (
        ("mix/r", "mix", "_FusedConv2D", ["BiasAdd", "Relu"]),
        ("scale/b", "scale/depthwise", "FusedDepthwiseConv2dNative", ["BiasAdd"]),
    ):
        convolution = nodes.pop(first if first in nodes else first.partition("/")[0])
        bias = nodes[last] if len(after) == 1 else nodes.pop(nodes[last]["input"][0])
        names = json_format.MessageToDict(
            tf.compat.v1.AttrValue(list=tf.compat.v1.AttrValue.ListValue(s=[name.encode() for name in after]))
        )
        attributes = {**convolution["attr"], "fused_ops": names, "num_args": {"i": "1"}}
        inputs = [*convolution["input"], bias["input"][1]]
        nodes[last] = {"name": last, "op": melted, "input": inputs, "attr": attributes}
    weights, data = [], b""
    for node in nodes.values():
        if node["op"] == "Const":
            message = json_format.ParseDict(node["attr"]["value"]["tensor"], tf.make_tensor_proto(0).__class__())
            value = tf.make_ndarray(message)
            node["attr"]["value"] = {"tensor": {"dtype": node["attr"]["dtype"]["type"], "tensorShape": {}}}
            entry = {"name": node["name"], "shape": list(value.shape), "dtype": value.dtype.name}
            if value.dtype == np.float32:
                entry["quantization"] = {"dtype": "float16", "original_dtype": "float32"}
                value = value.astype(np.float16)
            weights.append(entry)
            data += value.tobytes()
    model = {
        "format": "graph-model",
        "modelTopology": {"node": list(nodes.values()), "library": {}, "versions": {}},
        "weightsManifest": [{"paths": [f"{path.stem}.bin"], "weights": weights}],
    }
    path.with_suffix(".bin").write_bytes(data)
    path.write_text(json.dumps(model))
    return path
