"""Features of other programs, weights and lists, damaged: read, or refused by an ``InputError``, and nothing else."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from rgcn_jax.data.clips import precomputed
from rgcn_jax.data.datasets import ccvid, mevid
from rgcn_jax.data.datasets.lists import parse_names
from rgcn_jax.data.features.files import read_features as read_other_features
from rgcn_jax.data.mot_tracks import parse_tracks
from rgcn_jax.models.weight_files import read_weights
from rgcn_jax.pose_detection import tfjs
from rgcn_jax.types import Tracklet
from tests.fuzzing import damaged_files_test, spoilt_arrays, spoilt_bytes, spoilt_json, spoilt_tensors


def table(folder):
    names = [f"{i}/1.jpg" for i in range(3)]
    np.savez(folder / "a.npz", first_frames=np.array(names), appearance=np.ones((3, 4), np.float32))
    tracklets = [Tracklet((name,), 1, 1) for name in names]
    return folder / "a.npz", lambda: precomputed.load(folder / "a.npz", tracklets)


def other_features(folder, suffix):
    file = folder / f"f{suffix}"
    if suffix == ".csv":
        file.write_text(",0,1,pid,camid\n0,0.5,1e-3,1,2\n1,0.25,2.5,2,1\n")
    elif suffix == ".npz":
        np.savez(file, qf=np.ones((3, 4), np.float32), q_pids=np.arange(3), q_camids=np.arange(3))
    else:
        h5py = pytest.importorskip("h5py", reason="h5py is not installed: the extra data")
        with h5py.File(file, "w", userblock_size=512) as opened:
            opened["qf"], opened["q_pids"] = np.ones((3, 4), np.float32), np.arange(3)
        file.write_bytes(b"MATLAB 7.3 MAT-file".ljust(512) + file.read_bytes()[512:])
    return file, lambda: read_other_features([file])


def weights(folder):
    save_file({"a.weight": np.ones((2, 3), np.float32), "b": np.arange(4)}, folder / "w.safetensors")
    return folder / "w.safetensors", lambda: read_weights(folder / "w.safetensors")


def movenet(folder):
    entries = [{"name": "a", "shape": [2, 3], "dtype": "float32"}]
    entries.append({"name": "b", "shape": [4], "dtype": "float32", "quantization": {"dtype": "float16"}})
    content = {"format": "graph-model", "modelTopology": {"node": []}}
    content["weightsManifest"] = [{"paths": ["m.bin"], "weights": entries}]
    (folder / "m.json").write_text(json.dumps(content))
    (folder / "m.bin").write_bytes(bytes(24 + 8))
    return folder / "m.json", lambda: tfjs.load(folder / "m.json")


def lists(folder, text, parse):
    (folder / "list.txt").write_text(text)
    return folder / "list.txt", lambda: parse((folder / "list.txt").read_bytes(), folder / "list.txt")


CCVID = "session1/001_01 001 u0_l0_s0_c0_a0\nsession3/002_12 002 u1_l0_s0_c0_a0\n"
MEVID = "0201O003C330T004F00192.jpg\n0201O003C330T004F00193.jpg\n"
READERS = {
    "precomputed features": (table, spoilt_arrays),
    "features in CSV": (lambda folder: other_features(folder, ".csv"), spoilt_bytes),
    "features in NumPy's form": (lambda folder: other_features(folder, ".npz"), spoilt_arrays),
    "features in HDF5": (lambda folder: other_features(folder, ".mat"), spoilt_bytes),
    "weights in safetensors": (weights, spoilt_tensors),
    "model of TensorFlow.js": (movenet, spoilt_json),
    "tracks of a video": (lambda f: lists(f, "1,7,10,4,10,20,1\n2,7,11,4,10,20,0.5\n", parse_tracks), spoilt_bytes),
    "list of CCVID": (lambda folder: lists(folder, CCVID, ccvid.parse_list), spoilt_bytes),
    "names of MEVID": (
        lambda f: lists(f, MEVID, lambda text, path: parse_names(text.split(), mevid._NAME, mevid._FIELDS, path)),
        spoilt_bytes,
    ),
    "rows of MEVID": (
        lambda folder: lists(folder, "0 4 1 2 3\n5 9 1 2 4\n", lambda text, path: mevid.parse_numbers(text, path, 5)),
        spoilt_bytes,
    ),
}

test_a_damaged_file_is_read_or_refused = damaged_files_test(READERS)
