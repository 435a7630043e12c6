"""Hashes of arrays and JSON: names, types, shapes, order and bytes all count."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np

from rgcn_jax.runtime.checksum import content_hash, host_leaves, json_hash, not_finite, structure


def test_everything_about_an_array_is_in_the_content_hash():
    x = np.arange(6, dtype=np.float32)
    leaves = [
        {"a": x, "b": x},
        {"a": x, "c": x},  # another name
        {"a": x, "b": x.view(np.int32)},  # another type of the same bytes
        {"a": x, "b": x.reshape(2, 3)},
        {"a": x, "b": x.reshape(3, 2)},
        {"a": x, "b": x[::-1]},
        {"a": x},
        {"b": x, "a": x},  # another order
        {"a": np.zeros((), np.float32), "b": x},
    ]
    assert len({content_hash(of) for of in leaves}) == len(leaves)
    assert content_hash({"a": x.copy(), "b": x[::-1][::-1]}) == content_hash(leaves[0])
    flipped = x.copy()
    flipped.view(np.uint8)[-1] ^= 1
    assert content_hash({"a": x, "b": flipped}) != content_hash(leaves[0])


def test_the_content_hash_is_sha_256_of_headers_and_bytes():
    """Written out: a checkpoint of an earlier version must be known again."""
    x = np.array([[1.0, 2.0]], np.float32)
    expected = hashlib.sha256(b"params/w float32 (1, 2)\n" + x.tobytes()).hexdigest()
    assert content_hash({"params/w": x}) == expected


def test_leaves_are_named_by_their_path_and_keys_are_numbers():
    tree = {"params": {"W_x": jnp.ones((2, 1))}, "list": [jnp.zeros(1, bool)], "key": jax.random.key(3)}
    leaves = host_leaves(tree)
    assert sorted(leaves) == ["key", "list/0", "params/W_x"]
    np.testing.assert_array_equal(leaves["key"], jax.random.key_data(jax.random.key(3)))
    assert structure(tree)["params/W_x"] == "float32[2, 1]"
    assert structure(tree)["list/0"] == "bool[1]"


def test_json_of_another_order_has_the_same_hash():
    assert json_hash({"a": 1, "b": [1, 2]}) == json_hash({"b": [1, 2], "a": 1})
    assert json_hash({"a": 1}) != json_hash({"a": 2})
    assert json_hash([1, 2]) != json_hash([2, 1])


def test_what_is_not_finite_is_named():
    leaves = {
        "nan": np.array([0, np.nan]),
        "inf": np.array([-np.inf], np.float32),
        "good": np.ones(2),
        "n": np.ones(2, int),
    }
    assert not_finite(leaves) == ["nan", "inf"]
