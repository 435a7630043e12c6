"""Validation of JSON and keypoint values in keypoint files, with bounded memory.

All functions raise InputError with the reason only, without the file's name: "is not JSON or is cut off: ...".
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32

from rgcn_jax.errors import InputError
from rgcn_jax.runtime import strict_json

LARGEST = 1e6  # bound on pixel coordinates and confidences
LARGEST_FRAME = 10 * 2**20  # maximum bytes of JSON per frame; a detector writes about 2 kB per person


def parse_json(text: bytes) -> Any:
    """Parse the JSON text of one frame. Text larger than ``LARGEST_FRAME`` is an error."""
    if not text:
        raise InputError("is empty, zero bytes")
    if len(text) > LARGEST_FRAME:
        raise InputError(f"is larger than {LARGEST_FRAME >> 20} MiB, which no file of one frame is")
    try:
        return strict_json.parse(text)
    except strict_json.DuplicateKey as error:
        raise InputError(f"is ambiguous: {error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not JSON or is cut off: {error}") from error


def check_numbers(values: object) -> None:
    """Raise InputError unless this is a list of integers and floats (without booleans)."""
    if not isinstance(values, list) or set(map(type, values)) - {int, float}:
        raise InputError("has something other than numbers among the keypoints")


def people_array(people: Sequence[list]) -> Float32[np.ndarray, "p v 3"]:
    """Convert persons to an array, from lists of 3 v numbers checked by ``check_numbers``. No persons: [0, 25, 3].

    Raises:
      InputError: the lists differ in length, or a number is not finite or above ``LARGEST``.
    """
    if len(set(map(len, people))) > 1:
        raise InputError("has people of different skeletons")
    try:
        values = np.array(people, np.float64)
    except OverflowError:  # an integer too large for a float
        values = np.array(np.inf)
    if not np.all(np.abs(values) <= LARGEST):
        raise InputError("has a number that is not finite or above 1e6")
    return values.reshape(len(people), len(people[0]) // 3 if people else 25, 3).astype(np.float32)
