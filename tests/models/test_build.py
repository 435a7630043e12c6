import jax
import jax.numpy as jnp
import pytest

from rgcn_jax import models
from rgcn_jax.models.build import POSE_ENCODERS, READOUTS, build_model
from tests import tiny

CLASSES = {
    "RGCN": models.RGCN, "LGCN": models.LGCN, "GCNRNN": models.GCNRNN, "GCNLSTM": models.GCNLSTM,
    "STGCN": models.STGCN, "STGCN-compat": models.STGCN,
    "EvolveGCN-O": models.EvolveGCN, "EvolveGCN-H": models.EvolveGCN,
}  # fmt: skip


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("pose", POSE_ENCODERS)
def test_every_encoder_is_built_with_every_readout(pose, readout):
    fields = tiny.FIELDS | {"pose": pose, "readout": readout}
    model = build_model(fields, tiny.IDENTITIES, "bfloat16", "data")
    assert type(model.pose) is CLASSES[pose]
    assert type(model.readout) is READOUTS[readout][0]
    assert model.pose is not None
    assert model.pose.dtype == jnp.bfloat16
    shapes = (tiny.FRAMES, tiny.HEIGHT, tiny.WIDTH, 3), (tiny.FRAMES, 14, 3), (tiny.FRAMES,)
    clips = [jnp.zeros((2, *shape), kind) for shape, kind in zip(shapes, (float, float, bool), strict=True)]
    out = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), *clips)[0])
    assert out.pose.shape == (2, fields["pose_features"])
    assert out.logits.shape == (2, tiny.IDENTITIES)


def encoder(axis_name=None, **fields):
    built = build_model(tiny.FIELDS | fields, tiny.IDENTITIES, axis_name=axis_name).pose
    assert built is not None
    return built


def test_the_variants_and_the_axis_reach_the_encoder():
    assert [encoder("data", pose=f"EvolveGCN-{v}").variant for v in "OH"] == ["O", "H"]
    for name, variant in (("STGCN", "spatial"), ("STGCN-compat", "spatial_compat")):
        assert (encoder("data", pose=name).axis_name, encoder("data", pose=name).variant) == ("data", variant)
    deep = encoder("data", pose="GCNLSTM", graph_layers=3, graph_relu_each_layer=True)
    assert (deep.num_layers, deep.relu_each_layer) == (3, True)


def test_dropout_is_st_gcns():
    for name in ("STGCN", "STGCN-compat"):
        assert encoder(pose=name).dropout == 0.0
        assert encoder(pose=name, dropout=0.5).dropout == 0.5


@pytest.mark.parametrize("field", ["pose", "readout", "appearance"])
def test_an_unknown_name_is_an_error_that_lists_the_names(field):
    with pytest.raises(ValueError, match="'TCN'.*(RGCN|DAM|BiC)"):
        build_model(tiny.FIELDS | {field: "TCN"}, tiny.IDENTITIES)
