"""A stream of keypoints, frame by frame, gives the pose feature of the batch path."""

from typing import Any

import jax
import numpy as np
import pytest

from rgcn_jax.models.build import build_model, initialise
from rgcn_jax.models.pose_stream import PoseStream, clip_torso
from rgcn_jax.walkers import generate
from tests import mars_folder, tiny

pytestmark = pytest.mark.jit


@pytest.mark.slow
@pytest.mark.parametrize("pose", ["RGCN", "LGCN"])
@pytest.mark.parametrize(
    ("mode", "neck"), [("crop", "batchnorm"), ("centred+velocity+bones+confidence", "batchnorm_all")]
)
def test_a_stream_is_the_batch_path(pose, mode, neck):
    fields = {"pose": pose, "pose_input": mode, "keypoint_embedding": 3, "neck": neck}
    model = build_model(tiny.FIELDS | fields, 0, aspect=0.5)
    variables = jax.device_get(initialise(model, 0, 6, tiny.HEIGHT, tiny.WIDTH))
    if neck == "batchnorm_all":
        offset = np.linspace(0.5, 1, tiny.FIELDS["pose_features"]).astype(np.float32)
        variables["params"]["neck_pose"] |= {"scale": -offset, "bias": offset}
    walkers = generate(mars_folder.SPEC)
    keypoints = next(k for t in walkers.split.query if len(k := walkers.keypoints(t)) >= 5)
    keypoints[2, 4] = 0  # a wrist that was not detected
    frames = np.zeros((1, len(keypoints), tiny.HEIGHT, tiny.WIDTH, 3), np.float32)
    features: Any = model.apply(variables, frames, keypoints[None], np.ones((1, len(keypoints)), bool))
    expected = features.pose[0]
    stream = PoseStream(model, variables, torso=clip_torso(keypoints, 0.5))
    assert np.ptp(stream.feature + (variables["params"]["neck_pose"]["scale"] if neck == "batchnorm_all" else 0)) < 1e-6
    for frame in keypoints:
        stream.step(frame)
    np.testing.assert_allclose(stream.feature, expected, atol=1e-5)
    unscaled = PoseStream(model, variables)
    for frame in keypoints:
        unscaled.step(frame)
    assert np.linalg.norm(unscaled.feature - expected) < 0.2 * np.linalg.norm(expected)


def test_only_a_recurrent_graph_convolution_streams():
    model = build_model(tiny.FIELDS | {"pose": "STGCN"}, 0, aspect=0.5)
    with pytest.raises(ValueError, match="STGCN"):
        PoseStream(model, {"params": {}})
