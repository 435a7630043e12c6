import doctest

import pytest

from rgcn_jax.data.datasets import overlap
from rgcn_jax.data.datasets.overlap import pretrained_overlap


@pytest.mark.parametrize(
    ("data_set", "weights", "warned"),
    [
        ("mars", "/weights/osnet_x1_0_market1501.pth", True),
        ("mars", "Market-1501.safetensors", True),
        ("mars", "/market/resnet50.pth", False),  # the folder says nothing
        ("mars", "resnet50.pth", False),
        ("mars", "", False),
        ("ilids_vid", "market.pth", False),
    ],
)
def test_weights_of_market_1501_on_mars_are_warned_of(data_set, weights, warned):
    warning = pretrained_overlap(data_set, weights)
    assert ("48 % of the persons that MARS tests on" in warning) == warned
    assert bool(warning) == warned


def test_the_example():
    assert doctest.testmod(overlap).failed == 0
