import re

import jax
import jax.numpy as jnp
import pytest

from rgcn_jax import models
from rgcn_jax.errors import InputError
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
    fields = tiny.FIELDS | {"pose": pose.upper(), "readout": readout.lower()}
    model = build_model(fields, tiny.IDENTITIES, "bfloat16", "data")
    assert type(model.pose) is CLASSES[pose]
    assert type(model.readout) is READOUTS[readout][0]
    assert model.pose.dtype == jnp.bfloat16
    shapes = (tiny.FRAMES, tiny.HEIGHT, tiny.WIDTH, 3), (tiny.FRAMES, 14, 3), (tiny.FRAMES,)
    clips = [jnp.zeros((2, *shape), kind) for shape, kind in zip(shapes, (float, float, bool), strict=True)]
    out = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), *clips)[0])
    assert out.pose.shape == (2, fields["pose_features"])
    assert out.logits.shape == (2, tiny.IDENTITIES)


def test_the_variants_and_the_axis_reach_the_encoder():
    def encoder(**fields):
        return build_model(tiny.FIELDS | fields, tiny.IDENTITIES, axis_name="data").pose

    assert [encoder(pose=f"EvolveGCN-{v}").variant for v in "OH"] == ["O", "H"]
    for name, variant in (("STGCN", "spatial"), ("STGCN-compat", "spatial_compat")):
        assert (encoder(pose=name).axis_name, encoder(pose=name).variant) == ("data", variant)
    deep = encoder(pose="GCNLSTM", graph_layers=3, graph_relu_each_layer=True)
    assert (deep.num_layers, deep.relu_each_layer) == (3, True)


@pytest.mark.parametrize("pose", ["STGCN", "EvolveGCN-O", "EvolveGCN-H"])
@pytest.mark.parametrize("field", [{"graph_layers": 2}, {"graph_relu_each_layer": True}])
def test_settings_that_an_encoder_lacks_are_refused(pose, field):
    with pytest.raises(InputError, match=rf"model.{next(iter(field))} .* {pose} .* RGCN, LGCN, GCNRNN, GCNLSTM"):
        build_model(tiny.FIELDS | {"pose": pose} | field, tiny.IDENTITIES)


def test_dropout_is_st_gcns():
    for name in ("STGCN", "STGCN-compat"):
        assert build_model(tiny.FIELDS | {"pose": name}, tiny.IDENTITIES).pose.dropout == 0.0
        assert build_model(tiny.FIELDS | {"pose": name, "dropout": 0.5}, tiny.IDENTITIES).pose.dropout == 0.5
    with pytest.raises(InputError, match=r"model.dropout is 0.5, .* RGCN .* STGCN, STGCN-compat"):
        build_model(tiny.FIELDS | {"dropout": 0.5}, tiny.IDENTITIES)


def test_an_unknown_encoder_is_named_with_the_choices():
    with pytest.raises(
        InputError, match="model.pose is 'TCN': expected one of none, RGCN, LGCN, GCNRNN, GCNLSTM, STGCN"
    ):
        build_model(tiny.FIELDS | {"pose": "TCN"}, tiny.IDENTITIES)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pooling": "sum"}, "model.pooling is 'sum': expected one of mean, max."),
        (
            {"appearance": "BiC", "stage_sizes": (1,) * 4, "pooling": "max"},
            "model.pooling is 'max', but the appearance model BiC has a pooling of its own",
        ),
        ({"pose_input": "centred+speed"}, "unknown pose input 'centred+speed': expected crop or centred"),
    ],
)
def test_settings_that_do_not_exist_are_refused(fields, message):
    with pytest.raises(InputError, match=re.escape(message)):
        build_model(tiny.FIELDS | fields, tiny.IDENTITIES)
