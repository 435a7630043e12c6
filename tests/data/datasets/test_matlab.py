"""MATLAB files of version 7.3: a small one must not fill the memory."""

import h5py
import numpy as np
import pytest

from rgcn_jax.data.datasets.matlab import read_matrices
from rgcn_jax.errors import InputError


def write(path, chunk):
    with h5py.File(path, "w") as file:
        # A chunk that is not written takes no room, in the file and here; one that is would be unpacked whole.
        matrix = file.create_dataset("query", (4, 10), "f8", chunks=chunk, maxshape=(None, None), compression="gzip")
        if chunk is None or np.prod(chunk) < 1e6:
            matrix[:] = np.arange(40).reshape(4, 10)


@pytest.mark.parametrize("chunk", [(4, 10), (100, 100)])
def test_chunks_of_a_common_size_are_read(chunk, tmp_path):
    write(tmp_path / "x.mat", chunk)
    (found,) = read_matrices({tmp_path / "x.mat": "query"}, "LS-VID", "the archive")
    np.testing.assert_array_equal(found, np.arange(40).reshape(4, 10).T)


def test_a_matrix_whose_chunk_is_enormous_is_refused(tmp_path):
    write(tmp_path / "x.mat", (2**13, 2**13))
    with pytest.raises(InputError, match="query must be a matrix of whole numbers"):
        read_matrices({tmp_path / "x.mat": "query"}, "LS-VID", "the archive")
