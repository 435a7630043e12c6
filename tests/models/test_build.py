import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rgcn_jax import models, parallel
from rgcn_jax.models.build import POSE_ENCODERS, READOUTS, build_model, initialise
from rgcn_jax.state import create_state
from rgcn_jax.step import Objective, make_train_step
from rgcn_jax.types import InputError
from tests import tiny
from tests.encoder_checks import drawn_like

CLASSES = {
    "RGCN": models.RGCN, "LGCN": models.LGCN, "GCNRNN": models.GCNRNN, "GCNLSTM": models.GCNLSTM,
    "STGCN": models.STGCN, "EvolveGCN-O": models.EvolveGCN, "EvolveGCN-H": models.EvolveGCN,
}  # fmt: skip


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("pose", POSE_ENCODERS)
def test_every_encoder_is_built_with_every_readout(pose, readout):
    fields = tiny.FIELDS | {"pose": pose.upper(), "readout": readout.lower()}
    model = build_model(fields, tiny.IDENTITIES, "bfloat16", "data")
    assert type(model.pose) is CLASSES[pose]
    assert type(model.readout) is READOUTS[readout][0]
    assert model.pose.dtype == jnp.bfloat16
    shapes = (tiny.FRAMES, tiny.HEIGHT, tiny.WIDTH, 3), (tiny.FRAMES, 14, 3), (tiny.FRAMES,)
    clips = [jnp.zeros((2, *shape), kind) for shape, kind in zip(shapes, (float, float, bool), strict=True)]
    out = jax.eval_shape(
        lambda: model.clone(axis_name=None, appearance=build_model(fields, 5).appearance).init_with_output(
            jax.random.key(0), *clips
        )[0]
    )
    assert out.pose.shape == (2, fields["pose_features"])
    assert out.logits.shape == (2, tiny.IDENTITIES)


def test_the_variants_and_the_axis_reach_the_encoder():
    def encoder(**fields):
        return build_model(tiny.FIELDS | fields, tiny.IDENTITIES, axis_name="data").pose

    assert [encoder(pose=f"EvolveGCN-{v}").variant for v in "OH"] == ["O", "H"]
    assert encoder(pose="STGCN").axis_name == "data"
    deep = encoder(pose="GCNLSTM", graph_layers=3, graph_relu_each_layer=True)
    assert (deep.num_layers, deep.relu_each_layer) == (3, True)


@pytest.mark.parametrize("pose", ["STGCN", "EvolveGCN-O", "EvolveGCN-H"])
@pytest.mark.parametrize("field", [{"graph_layers": 2}, {"graph_relu_each_layer": True}])
def test_settings_that_an_encoder_lacks_are_refused(pose, field):
    (name, value), default = *field.items(), 1 if "graph_layers" in field else False
    message = (
        f"model.{name} is {value}, but the depth of the pose encoder {pose} is fixed: leave it at {default}, or choose "
        "one of RGCN, LGCN, GCNRNN, GCNLSTM."
    )
    with pytest.raises(InputError, match=f"^{message}$"):
        build_model(tiny.FIELDS | {"pose": pose} | field, tiny.IDENTITIES)


def test_an_unknown_encoder_is_named_with_the_choices():
    with pytest.raises(
        InputError, match="model.pose is 'TCN': expected one of none, RGCN, LGCN, GCNRNN, GCNLSTM, STGCN"
    ):
        build_model(tiny.FIELDS | {"pose": "TCN"}, tiny.IDENTITIES)


@pytest.mark.jit
@pytest.mark.parametrize("pose", POSE_ENCODERS)
def test_a_training_step_moves_every_parameter_of_the_encoder(pose):
    """By its gradient alone, without weight decay."""
    fields, mesh, optimizer = tiny.FIELDS | {"pose": pose}, parallel.make_mesh(1), optax.sgd(1.0)
    shapes = jax.eval_shape(
        lambda: initialise(build_model(fields, tiny.IDENTITIES), 0, tiny.FRAMES, tiny.HEIGHT, tiny.WIDTH)
    )
    state = parallel.replicate(create_state(drawn_like(shapes), optimizer, seed=0), mesh)
    before = jax.device_get(state.params["pose"])
    model = build_model(fields, tiny.IDENTITIES, axis_name=parallel.AXIS)
    step = make_train_step(model, optimizer, Objective(), mesh)
    state, metrics = step(state, parallel.shard(tiny.batch(clips=4), mesh))
    assert all(np.isfinite(v) for v in metrics.values())
    for (path, a), b in zip(
        jax.tree.leaves_with_path(before), jax.tree.leaves(jax.device_get(state.params["pose"])), strict=True
    ):
        assert np.isfinite(b).all()
        assert (a != b).any(), path
    assert ("pose" in state.batch_stats) == (pose == "STGCN")
