"""MoveNet SinglePose (Thunder or Lightning) in TensorFlow, from its TensorFlow.js graph model.

Input: the crop centred in a square and padded with its border pixels, which agrees better with results on whole images
than black padding. See docs/pose-detection.md for its agreement with stored keypoints.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from rgcn_jax.errors import InputError, as_input_error
from rgcn_jax.pose_detection import tfjs
from rgcn_jax.pose_detection.framing import frame, unframe

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # 1.5 times as fast for this model


@contextlib.contextmanager
def _suppress_onednn_message() -> Iterator[None]:
    """Suppress TensorFlow's message about oneDNN, which it prints to stderr at any log level."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


try:
    with _suppress_onednn_message():
        from rgcn_jax.data.clips.tensorflow_cpu import tf  # isort: skip  before what comes with it
        from google.protobuf import json_format
except InputError as error:
    raise InputError(
        "MoveNet needs TensorFlow, which is not installed: pip install 'rgcn_jax[pose]' (from a checkout: "
        "pip install -e '.[pose]')."
    ) from error

_OPERATIONS = {
    *("Placeholder", "Const", "Identity", "Cast", "Conv2D", "DepthwiseConv2dNative", "BiasAdd", "Relu", "Relu6"),
    *("ResizeBilinear", "Sigmoid", "Sqrt", "AddV2", "Sub", "Mul", "RealDiv", "FloorDiv", "SquaredDifference"),
    *("ArgMax", "ConcatV2", "ExpandDims", "GatherNd", "Pack", "Reshape", "Squeeze", "Unpack"),
}
"""Operations of MoveNet. Graphs with any others are rejected, since some TensorFlow operations write files."""

_FUSED = {"_FusedConv2D": "Conv2D", "FusedDepthwiseConv2dNative": "DepthwiseConv2dNative"}


class MoveNet:
    """A ``Detector`` of COCO's 17 keypoints, which processes one image at a time.

    Args:
      path: the model's ``.json`` file, next to its weights.
      margin: side of the square as a multiple of the crop's longer side.
      threads: number of threads of a convolution. GPUs are not used.

    Raises:
      InputError: the model is not MoveNet SinglePose, or is incomplete.
    """

    def __init__(self, path: Path, margin: float, threads: int):
        with contextlib.suppress(RuntimeError):  # TensorFlow is already running, with its number of threads
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        self._margin = margin
        network, self._size = _import(path)

        def one(square: tf.Tensor) -> tf.Tensor:
            return network(tf.cast(square, tf.int32)[None])[0, 0]

        @tf.function(input_signature=[tf.TensorSpec((None, self._size, self._size, 3), tf.uint8)])
        def run(squares: tf.Tensor) -> tf.Tensor:
            return tf.map_fn(one, squares, fn_output_signature=tf.TensorSpec((17, 3), tf.float32))

        self._run = run

    def __call__(self, crops: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> Float32[np.ndarray, "n 17 3"]:
        """Detect keypoints, see ``Detector``."""
        framed = [frame(crop, self._size, self._size, self._margin, replicate=True) for crop in crops]
        squares = tf.constant(np.stack([f.image for f in framed]))
        found = self._run(squares).numpy()  # y and x as fractions of the square, and confidence
        return unframe(found[..., [1, 0, 2]] * np.array([self._size, self._size, 1], np.float32), framed)


def _import(path: Path):
    """Load the network as a function from int32 [1, size, size, 3] to float32 [1, 1, 17, 3]; return it and the size."""
    nodes, weights = tfjs.load(path)
    wrong = f"{path} is not MoveNet SinglePose"
    with as_input_error(f"{wrong}: its graph cannot be read", kinds=(json_format.Error, TypeError, ValueError)):
        source = json_format.ParseDict(dict(nodes), tf.compat.v1.GraphDef())
    graph = tf.compat.v1.GraphDef()
    for node in source.node:
        graph.node.extend(_translated(node, weights, wrong))
    strange = sorted({node.op for node in graph.node} - _OPERATIONS)
    if strange or source.library.function:
        raise InputError(f"{wrong}: its graph has {', '.join(strange) or 'functions'}, which MoveNet does not have.")
    try:
        network = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph, name=""), [])
        network = network.prune("input:0", "Identity:0")
        shape = network.inputs[0].shape.as_list()
        size = shape[1]
        if shape != [1, size, size, 3] or network.inputs[0].dtype != tf.int32:
            raise ValueError(f"its input is {network.inputs[0]}")
        found = network(tf.zeros(shape, tf.int32))
        if found.shape != (1, 1, 17, 3) or found.dtype != tf.float32:
            raise ValueError(f"its output is {found.dtype.name} {found.shape}, expected float32 [1, 1, 17, 3]")
    except Exception as error:  # a damaged graph may raise anything
        raise InputError(f"{wrong}: {type(error).__name__}: {error}") from error
    return network, size


def _translated(node, weights, wrong: str) -> list:
    """Convert a node of a TensorFlow.js graph to nodes of a TensorFlow graph."""
    if node.op == "Const":
        if node.name not in weights:
            raise InputError(f"{wrong}: the weights of {node.name} are missing.")
        constant = tf.compat.v1.NodeDef()
        constant.CopyFrom(node)
        constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(weights[node.name]))
        constant.attr["dtype"].type = constant.attr["value"].tensor.dtype
        return [constant]
    if node.op not in _FUSED:
        return [node]
    # TensorFlow.js fuses convolutions with the following operations; TensorFlow has no such public operations.
    after = [name.decode() for name in node.attr["fused_ops"].list.s]
    if len(node.input) != 3 or after[:1] != ["BiasAdd"]:
        raise InputError(f"{wrong}: {node.name} fuses a convolution with {', '.join(after)}.")
    names = [f"{node.name}/{number}" for number in range(len(after))] + [node.name]
    chain = [tf.compat.v1.NodeDef(name=names[0], op=_FUSED[node.op], input=node.input[:2])]
    for attribute in ("T", "strides", "padding", "dilations", "data_format"):
        chain[0].attr[attribute].CopyFrom(node.attr[attribute])
    for before, name, op in zip(names, names[1:], after, strict=False):
        chain.append(tf.compat.v1.NodeDef(name=name, op=op, input=[before]))
        chain[-1].attr["T"].CopyFrom(node.attr["T"])
    chain[1].input.append(node.input[2])
    chain[1].attr["data_format"].CopyFrom(node.attr["data_format"])
    return chain
