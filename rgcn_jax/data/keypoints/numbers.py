"""Validation of JSON and keypoint values in files of pose detectors, with bounded memory.

All functions raise InputError with the reason alone, without the file's name: "is not JSON or is cut off: ...".
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32

from rgcn_jax.errors import InputError
from rgcn_jax.runtime import strict_json

LARGEST = 1e6  # no pixel coordinate and no confidence is larger than this
LARGEST_FRAME = 10 * 2**20  # bytes of JSON of one frame; a detector writes about 2 kB a person


def parse_json(text: bytes) -> Any:
    """What the JSON text of one frame holds; text beyond ``LARGEST_FRAME`` bytes is refused."""
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
    """Raises InputError unless this is a list of nothing but whole and decimal numbers (true is not one)."""
    if not isinstance(values, list) or set(map(type, values)) - {int, float}:
        raise InputError("has something other than numbers among the keypoints")


def people_array(people: Sequence[list]) -> Float32[np.ndarray, "p v 3"]:
    """People given by lists of 3 v numbers that ``check_numbers`` passed; none of them: [0, 25, 3].

    Raises:
      InputError: the lists differ in length, or a number is not finite or above ``LARGEST``.
    """
    if len(set(map(len, people))) > 1:
        raise InputError("has people of different skeletons")
    try:
        values = np.array(people, np.float64)
    except OverflowError:  # a whole number too large for a float
        values = np.array(np.inf)
    if not np.all(np.abs(values) <= LARGEST):
        raise InputError("has a number that is not finite or above 1e6")
    return values.reshape(len(people), len(people[0]) // 3 if people else 25, 3).astype(np.float32)
