"""``model.safetensors``: what comes back is what was written; each kind of wrong file is one error with its cause."""

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from rgcn_jax.errors import InputError
from rgcn_jax.runtime.checksum import host_leaves
from rgcn_jax.training.model_folder import WEIGHTS_FILE, read_model_folder, write_model_folder
from rgcn_jax.training.state import variables_hash
from rgcn_jax.training.weights import Weights

VARIABLES = {"params": {"pose": {"W_x": np.eye(2, dtype=np.float32)}}, "batch_stats": {}}
METADATA = {"format": "rgcn_jax model", "version": "1", "step": "7"}
VALUE = np.zeros(100)


def test_weights_come_back(tmp_path):
    weights = Weights(7, VARIABLES, variables_hash(host_leaves(VARIABLES)))
    write_model_folder(tmp_path, weights)
    found = read_model_folder(tmp_path)
    assert (found.step, found.hash) == (7, weights.hash)
    jax.tree.map(np.testing.assert_array_equal, found.variables, VARIABLES)


@pytest.mark.parametrize(
    ("write", "reported"),
    [
        (lambda path: None, "cannot be read"),
        (lambda path: path.mkdir(), "cannot be read"),
        (lambda path: path.write_bytes(b"x" * 1000), "cannot be read"),
        (lambda path: save_file({"a": VALUE}, path), "model.pretrained"),
        (lambda path: save_file({"a": VALUE}, path, METADATA | {"version": "2"}), "version 1"),
        (lambda path: save_file({"a": VALUE}, path, METADATA), "params and batch_stats"),
        (lambda path: save_file({"params/a": VALUE, "params/a/b": VALUE}, path, METADATA), "is damaged"),
        (lambda path: save_file({"params/a": VALUE}, path, METADATA | {"step": "x"}), "is damaged"),
        (lambda path: save_file({"params/a": VALUE}, path, METADATA), "checksum"),
    ],
)
def test_each_wrong_file_is_named_once_with_its_cause(tmp_path, write, reported):
    path = tmp_path / WEIGHTS_FILE
    write(path)
    with pytest.raises(InputError, match=reported) as error:
        read_model_folder(tmp_path)
    assert str(error.value).count(str(path)) == 1
    assert str(error.value).count("cannot be read") <= 1
