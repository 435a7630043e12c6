"""ONNX of every model part, run by ONNX Runtime, against the model itself."""

from dataclasses import asdict
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from jax import export

from rgcn_jax.config import ModelConfig
from rgcn_jax.export.onnx.convert import to_onnx
from rgcn_jax.models.build import build_model
from tests import tiny

pytestmark = pytest.mark.jit

ALL_INPUTS = "centred+confidence+velocity+bones"
MODELS: dict[str, dict[str, Any]] = {
    "RGCN AP": {"pose_input": ALL_INPUTS, "last_stride": 2, "stage_sizes": (1, 1), "remat": "blocks"},
    "LGCN AA": {"pose": "LGCN", "graph_layers": 2, "appearance": "AA", "readout": "NAM", "keypoint_embedding": 2},
    "GCNRNN RA": {"pose": "GCNRNN", "appearance": "RA", "readout": "TAM", "pose_input": "crop"},
    "GCNLSTM AA-conv": {"pose": "GCNLSTM", "appearance": "AA-conv", "readout": "mean"},
    "STGCN max": {"pose": "STGCN", "pooling": "max"},
    "EvolveGCN-H": {"pose": "EvolveGCN-H", "readout": "mean"},
    "BiC": {"pose": "none", "appearance": "BiC", "stage_sizes": (1, 1, 1, 1)},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_onnx_runtime_agrees_with_the_model(name):
    fields = asdict(ModelConfig(**{"stage_sizes": (1,), "width": 4, "pose_features": 16, **MODELS[name]}))
    model = build_model(fields, 0)
    names, outputs = ("frames", "keypoints", "mask"), ("appearance", "pose")[: 1 + (fields["pose"] != "none")]

    def features(frames, keypoints, mask):
        found: Any = model.apply(variables, frames, keypoints, mask, train=False)
        return (found.appearance, found.pose)[: len(outputs)]

    drawn = tiny.batch(clips=3)
    given = (drawn["frames"].astype(np.float32) / 128 - 1, drawn["keypoints"], drawn["frame_mask"])
    variables = weights(jax.eval_shape(lambda: model.init(jax.random.key(0), *given)))
    (batch,) = export.symbolic_shape("B")
    clip = (batch, tiny.FRAMES)
    shapes = (
        jax.ShapeDtypeStruct((*clip, tiny.HEIGHT, tiny.WIDTH, 3), jnp.float32),
        jax.ShapeDtypeStruct((*clip, 14, 3), jnp.float32),
        jax.ShapeDtypeStruct(clip, jnp.bool_),
    )
    made = to_onnx(jax.make_jaxpr(features)(*shapes), names, outputs, "m")
    onnx.checker.check_model(made)
    assert ("Scan" in {node.op_type for node in made.graph.node}) == (fields["pose"] not in ("STGCN", "none"))
    session = onnxruntime.InferenceSession(made.SerializeToString())
    results = session.run(None, dict(zip(names, given, strict=True)))
    for found, expected in zip(results, jax.jit(features)(*given), strict=True):
        np.testing.assert_allclose(np.asarray(found), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def weights(shapes):
    """Random ones, drawn without a compilation: of the size that keeps activations finite, variances positive."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        values = rng.normal(size=leaf.shape) / max(np.prod(leaf.shape[:-1], initial=1), 1) ** 0.5
        return (np.abs(values) + 0.5 if path[-1].key == "var" else values).astype(np.float32)

    return jax.tree.map_with_path(draw, shapes)
