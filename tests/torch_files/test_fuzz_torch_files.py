"""Damaged files of ``torch.save`` and of features: they are read, or refused by an ``InputError``, and nothing else."""

import contextlib

import numpy as np
import pytest
import scipy.io

from rgcn_jax.data.features.files import read_features
from rgcn_jax.errors import InputError
from rgcn_jax.models.weight_files import read_weights
from tests.torch_files.test_torch_files import DATA

MUTANTS = 250


def mutants(content, seed=0):
    """Bytes replaced, removed, put in or repeated, most of them where the descriptions are: at both ends."""
    rng = np.random.default_rng(seed)
    for _ in range(MUTANTS):
        changed = bytearray(content)
        for _ in range(rng.integers(1, 4)):
            near = int(min(rng.exponential(600), len(changed) - 1))
            at = near if rng.random() < 0.6 else len(changed) - 1 - near
            match rng.integers(4):
                case 0:
                    changed[at] = rng.integers(256)
                case 1:
                    del changed[at : at + int(rng.integers(1, 9))]
                case 2:
                    changed[at:at] = rng.bytes(int(rng.integers(1, 9)))
                case 3:
                    changed[at:at] = changed[at : at + 40]
        yield bytes(changed)


def survives(read, path, content):
    """How many of the mutants were refused."""
    refused = 0
    for mutant in mutants(content):
        path.write_bytes(mutant)
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
    assert survives(lambda path: read_features([path]), tmp_path / "f.mat", content) > MUTANTS // 4
