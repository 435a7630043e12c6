"""Streaming pose feature: the pose branch of a ``TwoBranch`` applied frame by frame, in constant memory.

Built on ``streaming`` and ``streaming_input``.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32

from rgcn_jax.models.pose_input import detections, parse_mode, pose_input, torso_length
from rgcn_jax.models.readout import DualAttention, MeanReadout, NodeAttention, TimeAttention
from rgcn_jax.models.recurrent_gcn import LGCN, RGCN
from rgcn_jax.models.streaming import initial_state, read, step
from rgcn_jax.models.streaming_input import initial_input, next_input
from rgcn_jax.models.two_branch import TwoBranch, feature_norm

TORSOS = 32
"""Number of recent frames whose torso lengths determine the scale, if it is not given."""


class PoseStream:
    """f_p of all frames so far: call ``step`` for each frame, and ``feature`` at any time.

    After T frames it equals f_p of a clip of these frames, except for what depends on the whole clip. A "centred" input
    is scaled by the clip's median torso length: pass it as ``torso``; otherwise each frame is scaled by the median of
    the last ``TORSOS`` frames. A frame without hips is centred at the mean of its keypoints. If the model fills gaps,
    the last position is held (``streaming_input``).

    Args:
      model: a model with the pose encoder RGCN or LGCN and a readout of the package.
      variables: variables of the model.
      torso: scale of a "centred" input in crop heights.

    Raises:
      ValueError: the pose encoder or readout is another one or missing, or the model has no ``aspect``.
    """

    def __init__(self, model: TwoBranch, variables: Mapping[str, Any], torso: float | None = None):
        encoder, readout, aspect = model.pose, model.readout, model.aspect
        if not isinstance(encoder, RGCN | LGCN):
            raise ValueError(f"expected the pose encoder RGCN or LGCN, found {type(encoder).__name__}.")
        if not isinstance(readout, MeanReadout | NodeAttention | TimeAttention | DualAttention):
            raise ValueError(f"expected a readout of the package, found {type(readout).__name__}.")
        if aspect is None:
            raise ValueError("expected a model with the aspect ratio of a crop: aspect=width / height.")
        self._aspect, self._torso = aspect, torso
        self._torsos: deque[float] = deque(maxlen=TORSOS)
        self._before = np.zeros((1, 1, 14, 3), np.float32)
        params, pose_mode = variables["params"], model.pose_input
        channels = 2 + sum({"confidence": 1, "velocity": 2, "bones": 2}[name] for name in parse_mode(pose_mode)[1])
        self._state = initial_state(encoder, 1), initial_input(1, channels)

        def advance(state: Any, two: Any, scale: Any) -> Any:
            recurrent, last = state
            x = pose_input(two, pose_mode, aspect, torso=scale)[:, 1]
            last, x = next_input(last, x, detections(two)[:, 1], variables, fill=model.pose_fill)
            return step(encoder, params, recurrent, x), last

        def f_p(state: Any) -> Any:
            f = read(readout, params, state[0])
            if model.neck == "batchnorm_all":
                of_neck = {kind: variables[kind]["neck_pose"] for kind in ("params", "batch_stats")}
                f = jnp.asarray(feature_norm("pose").apply(of_neck, f, use_running_average=True))
            return f[0]

        self._advance, self._read = jax.jit(advance), jax.jit(f_p)

    def step(self, keypoints: Float[np.ndarray, "14 3"]) -> None:
        """Add a frame: normalised coordinates of the crop, and confidence; (0, 0, 0) where not detected."""
        now = np.asarray(keypoints, np.float32)[None, None]
        two = np.concatenate([self._before, now], axis=1)
        self._state = self._advance(self._state, two, np.array([self._scale(now)], np.float32))
        self._before = now

    @property
    def feature(self) -> Float32[np.ndarray, "d_p"]:
        """Return f_p of the frames so far; 0 before the first."""
        return np.asarray(self._read(self._state))

    def _scale(self, now: np.ndarray) -> float:
        if self._torso is not None:
            return self._torso
        position = now[..., :2] * np.array([self._aspect, 1.0], np.float32)
        self._torsos.append(float(torso_length(position, np.asarray(detections(now)))[0]))
        return float(np.median(self._torsos))


def clip_torso(keypoints: Float[np.ndarray, "t 14 3"], aspect: float) -> float:
    """Median torso length of a clip in crop heights, the scale of its "centred" input; ``aspect``: that of the crop."""
    scaled = jnp.asarray(keypoints[None, ..., :2]) * jnp.array([aspect, 1.0])
    return float(torso_length(scaled, detections(keypoints[None]))[0])
