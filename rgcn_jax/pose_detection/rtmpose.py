"""RTMPose for bodies (COCO's 17 keypoints) by ONNX Runtime.

The crop is taken as the person's box; RTMPose was trained on boxes enlarged by a quarter (margin 1.25) in images with
black around them.
Colours enter as RGB, as its training configs have it (some demonstrations feed BGR).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt8

from rgcn_jax.errors import InputError, as_input_error, needs_extra
from rgcn_jax.pose_detection.framing import frame

MEAN = np.array([123.675, 116.28, 103.53], np.float32)
STD = np.array([58.395, 57.12, 57.375], np.float32)

_WHERE = (
    "OpenMMLab's RTMPose page (github.com/open-mmlab/mmpose, projects/rtmpose) links the ONNX files: take a body model "
    "with 17 keypoints, for example RTMPose-m 256x192, unpack it and give its end2end.onnx"
)


def files(path: Path) -> tuple[Path, ...]:
    """The one file of the model. Raises InputError if it is not there; the message names a source of it."""
    if not path.is_file():
        raise InputError(f"No model at {path}: an ONNX file of RTMPose is expected. {_WHERE}.")
    return (path,)


class RTMPose:
    """A ``Detector`` of COCO's 17 keypoints.

    Args:
      path: the ``.onnx`` file; its input's height and width are read from it.
      margin: size of the box that the model sees, as a multiple of the crop brought to the input's shape.
      threads: how many threads an operation may use on the CPU. A CUDA GPU is used where ONNX Runtime's GPU build is
        installed and finds one.

    Raises:
      InputError: ONNX Runtime is not installed, or the model is not RTMPose with 17 keypoints.
    """

    def __init__(self, path: Path, margin: float, threads: int):
        with needs_extra("pose", "RTMPose needs ONNX Runtime"):
            import onnxruntime
        files(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        usable = onnxruntime.get_available_providers()
        providers = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in usable]
        # Its errors share no class of their own.
        with as_input_error(f"{path} is not an ONNX model that can be run", _WHERE, Exception):
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        if len(shape) != 4 or shape[1] != 3 or not all(isinstance(n, int) for n in shape[2:]) or len(outputs) != 2:
            raise InputError(
                f"{path} is not RTMPose: expected one input [N, 3, height, width] and the outputs simcc_x and simcc_y, "
                f"found {_described(inputs)} and {_described(outputs)}. {_WHERE}."
            )
        self._path, self._margin, self._input = path, margin, inputs[0].name
        self._height, self._width = shape[2:]
        self._one_by_one = shape[0] == 1
        self([np.zeros((self._height, self._width, 3), np.uint8)])  # what comes out is checked before any work

    def __call__(self, crops: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> Float32[np.ndarray, "n 17 3"]:
        """As defined by ``Detector``; the confidence is the lower of the two peaks, 0 or less where there is none."""
        framed = [frame(crop, self._height, self._width, self._margin, replicate=False) for crop in crops]
        pixels = np.stack([(f.image - MEAN) / STD for f in framed]).transpose(0, 3, 1, 2)
        size = 1 if self._one_by_one else len(crops)
        parts = [self._run(np.ascontiguousarray(pixels[i : i + size])) for i in range(0, len(crops), size)]
        scale = np.stack([f.scale for f in framed])[:, None]
        border = np.stack([f.border for f in framed])[:, None]
        found = np.concatenate(parts)
        points = found[..., :2] * scale - border
        return np.concatenate([points, found[..., 2:]], axis=-1).astype(np.float32)

    def _run(self, pixels: Float32[np.ndarray, "n 3 h w"]) -> Float[np.ndarray, "n 17 3"]:
        """Places in pixels of the input, x and y, and the confidence."""
        along_x, along_y = (np.asarray(scores) for scores in self._session.run(None, {self._input: pixels}))
        axes = ((along_x, self._width), (along_y, self._height))
        for scores, length in axes:
            if scores.ndim != 3 or scores.shape[:2] != (len(pixels), 17) or scores.shape[2] % length:
                raise InputError(
                    f"{self._path} is not RTMPose with 17 keypoints: for an input of {self._width} x {self._height} "
                    f"pixels its outputs are {along_x.shape} and {along_y.shape}. {_WHERE}."
                )
        # Bin 2 i is the middle of pixel i where there are two bins a pixel: hence the half.
        peaks = [scores.argmax(axis=2) * (length / scores.shape[2]) + 0.5 for scores, length in axes]
        return np.stack([*peaks, np.minimum(along_x.max(axis=2), along_y.max(axis=2))], axis=-1)


def _described(tensors: Sequence[Any]) -> str:
    return ", ".join(f"{t.name} {t.shape}" for t in tensors) or "nothing"
