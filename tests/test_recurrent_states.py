"""The benchmark of recurrent states: its gates are those of the encoders, and it prints a run's table."""

import numpy as np
import pytest

from benchmarks import recurrent_states
from rgcn_jax.config_io import override, packaged_config, typed
from rgcn_jax.models import GCNLSTM, LGCN, RGCN
from rgcn_jax.training.train import train
from tests.encoder_checks import N, drawn, inputs


@pytest.mark.parametrize(
    "module",
    [LGCN(N), LGCN(N, self_term=True, product=True), LGCN(N, 2, True), GCNLSTM(N, self_term=True)],
    ids=["LGCN", "LGCN-self-product", "LGCN-2-relu", "GCNLSTM-self"],
)
def test_the_gates_are_those_of_the_encoder(module):
    x = inputs()
    variables = drawn(module, x)
    found = recurrent_states.gates(module, variables["params"], x)
    np.testing.assert_allclose(found["h"], module.apply(variables, x), rtol=1e-4, atol=1e-6)
    assert (found["graph"].min() < 0) == (isinstance(module, GCNLSTM) or module.product)  # else it is a ReLU


def test_an_encoder_without_gates_has_none():
    x = inputs()
    assert recurrent_states.gates(RGCN(N), drawn(RGCN(N), x)["params"], x) == {}


@pytest.mark.slow
@pytest.mark.jit
def test_the_table_of_a_run_is_printed(tmp_path, capsys):
    fields = {"model.pose": "LGCN", "model.pose_features": 8, "num_steps": 1, "batch.identities": 2}
    fields |= {"model.graph_layers": 1, "data.walkers.train_identities": 4, "data.walkers.test_identities": 4}
    fields |= {
        "data.walkers.min_frames": 40,
        "data.walkers.max_frames": 42,
        "data.walkers.cameras": 2,
        "data.walkers.group_size": 2,
    }
    fields |= {"parallel.num_devices": 1}
    arguments = [f"--config.{name}={value}" for name, value in fields.items()]
    train(typed(override(packaged_config("walkers_pose"), arguments)), tmp_path)
    capsys.readouterr()
    recurrent_states.main([str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    rows = [[float(cell) for cell in line.split("|")[1:-1]] for line in lines[3:]]
    assert [row[0] for row in rows] == [1, 5, 10, 20, 40]
    assert rows[2][-1] == 0  # the shift from where f_p is after ten frames
    assert all(row[-1] > 0 for row in rows if row[0] != 10)
