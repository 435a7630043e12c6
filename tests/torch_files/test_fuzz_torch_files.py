"""Damaged files of ``torch.save`` and of features: they are read, or refused by an ``InputError``, and nothing else."""

import contextlib

import numpy as np
import pytest
import scipy.io

from rgcn_jax.data.features.files import read_features
from rgcn_jax.errors import InputError
from rgcn_jax.models.weight_files import read_weights
from tests.fuzzing import spoilt_bytes
from tests.torch_files.handmade import DATA

MUTANTS = 250


def survives(read, path, content, mutants=MUTANTS):
    """How many of the mutants were refused."""
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(mutants):
        path.write_bytes(spoilt_bytes(content, rng, near_ends=True))
        with contextlib.suppress(InputError):
            read(path)
            refused -= 1
        refused += 1
    return refused


@pytest.mark.parametrize("name", ["small_trunk.pth", "small_trunk_legacy.pth", "video_person_reid.pth.tar"])
def test_weights(name, tmp_path):
    assert survives(read_weights, tmp_path / name, (DATA / name).read_bytes()) > MUTANTS // 4


@pytest.mark.parametrize("packed", [False, True])
def test_features_in_matlabs_form(packed, tmp_path):
    arrays = {"qf": np.ones((3, 4), np.float32), "q_pids": np.arange(3), "q_names": np.array(["a/b.jpg", "c", "d"])}
    scipy.io.savemat(tmp_path / "f.mat", arrays, do_compression=packed)
    assert read_features([tmp_path / "f.mat"])["query"].names == ["a/b.jpg", "c", "d"]
    content = (tmp_path / "f.mat").read_bytes()
    # Few, since each is read in a process of its own.
    assert survives(lambda path: read_features([path]), tmp_path / "f.mat", content, 8) >= 2
