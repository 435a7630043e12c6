"""RTMPose for bodies (COCO's 17 keypoints) in ONNX Runtime.

The crop is used as the person's box. RTMPose was trained on boxes enlarged by a quarter (margin 1.25) in images with
black padding, in RGB according to its training configs (some demonstrations use BGR).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt8

from rgcn_jax.errors import InputError, as_input_error, needs_extra
from rgcn_jax.pose_detection.framing import frame, unframe

MEAN = np.array([123.675, 116.28, 103.53], np.float32)
STD = np.array([58.395, 57.12, 57.375], np.float32)

_WHERE = (
    "OpenMMLab's RTMPose page (github.com/open-mmlab/mmpose, projects/rtmpose) links the ONNX files: choose a body "
    "model with 17 keypoints, for example RTMPose-m 256x192, unpack it and pass its end2end.onnx"
)


def files(path: Path) -> tuple[Path, ...]:
    """The file of the model. Raises InputError, with a download source, if it does not exist."""
    if not path.is_file():
        raise InputError(f"no model at {path}: expected an ONNX file of RTMPose. {_WHERE}.")
    return (path,)


class RTMPose:
    """A ``Detector`` of COCO's 17 keypoints.

    Args:
      path: the ``.onnx`` file, which determines height and width of the input.
      margin: size of the input box, as a multiple of the crop extended to the input's aspect ratio.
      threads: number of threads of an operation on the CPU. A CUDA GPU is used if ONNX Runtime's GPU build finds one.

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
        # Its exceptions have no common base class.
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
        self([np.zeros((self._height, self._width, 3), np.uint8)])  # validates the output early

    def __call__(self, crops: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> Float32[np.ndarray, "n 17 3"]:
        """Detect keypoints, see ``Detector``; confidence is the lower of the two peaks, at most 0 without one."""
        framed = [frame(crop, self._height, self._width, self._margin, replicate=False) for crop in crops]
        pixels = np.stack([(f.image - MEAN) / STD for f in framed]).transpose(0, 3, 1, 2)
        size = 1 if self._one_by_one else len(crops)
        parts = [self._run(np.ascontiguousarray(pixels[i : i + size])) for i in range(0, len(crops), size)]
        return unframe(np.concatenate(parts), framed)

    def _run(self, pixels: Float32[np.ndarray, "n 3 h w"]) -> Float[np.ndarray, "n 17 3"]:
        """Positions in pixels of the input, and confidence."""
        along_x, along_y = (np.asarray(scores) for scores in self._session.run(None, {self._input: pixels}))
        axes = ((along_x, self._width), (along_y, self._height))
        for scores, length in axes:
            if scores.ndim != 3 or scores.shape[:2] != (len(pixels), 17) or scores.shape[2] % length:
                raise InputError(
                    f"{self._path} is not RTMPose with 17 keypoints: for an input of {self._width} x {self._height} "
                    f"pixels its outputs are {along_x.shape} and {along_y.shape}. {_WHERE}."
                )
        # With two bins per pixel, bin 2 i is the middle of pixel i: hence the half.
        peaks = [scores.argmax(axis=2) * (length / scores.shape[2]) + 0.5 for scores, length in axes]
        return np.stack([*peaks, np.minimum(along_x.max(axis=2), along_y.max(axis=2))], axis=-1)


def _described(tensors: Sequence[Any]) -> str:
    return ", ".join(f"{t.name} {t.shape}" for t in tensors) or "nothing"
