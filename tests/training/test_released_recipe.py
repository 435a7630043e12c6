"""BiCnet-TKS's released recipe, trained for a few steps from its config on a small data set in MARS's layout.

With average pooling in place of its network, which tests/models/test_bicnet.py trains: that takes long to compile.
"""

import json

import jax
import pytest

from rgcn_jax.config_io import override, packaged_config, typed
from rgcn_jax.training.train import train
from rgcn_jax.training.weights import read_weights
from tests import mars_folder


@pytest.mark.slow
@pytest.mark.jit
def test_the_released_recipe_of_bicnet_trains_and_scores(tmp_path):
    root = mars_folder.write(tmp_path / "MARS")
    small = [*mars_folder.TINY, "--config.model.appearance=AP", "--config.num_steps=2", "--config.frames_per_clip=4"]
    config = typed(override(packaged_config("mars_bicnet_released"), [*small, f"--config.data.root={root}"]))
    train(config, tmp_path / "run")
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [record for record in records if "loss" in record]
    assert [record["step"] for record in steps] == [1, 2]
    for record in steps:
        assert record["loss"] == pytest.approx(record["loss_id"] + record["loss_appearance"], rel=1e-5)
        assert 0 < record["loss_appearance"] <= 0.5 + 2  # margin and the largest difference of two cosines
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["distance"] == "normalized"
    assert 0 < results["appearance"]["mAP"] <= 100
    neck = read_weights(tmp_path / "run", "latest").variables["params"]["neck_appearance"]
    assert jax.tree.map(lambda x: x.shape, neck) == {"scale": (16,), "bias": (16,)}
    assert (neck["bias"] != 0).any()  # it is trained
