"""Collections of a gallery in Milvus: connection, schema, filters and errors.

A gallery consists of two collections with the same ids, ``NAME_appearance`` and ``NAME_pose``, because servers before
2.4 allow only one vector field per collection. Both have the columns used by filters. The first also has the entries'
texts.
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pymilvus import DataType, MilvusClient, MilvusException

from rgcn_jax.errors import InputError
from rgcn_jax.gallery.entry import COLUMNS, Where, digest

MAX_TEXT = 65_535
"""Maximum length of an entry's JSON text in bytes, the limit of Milvus for text fields."""
UNKNOWN_LOW, UNKNOWN_HIGH = -1e300, 1e300
"""Values stored for an unknown quality, end or start. They satisfy no condition."""
ROWS = 4096
"""Number of ids per request."""
REQUEST_BYTES = 2**24
SCALARS = ("key", "source", "person_id", "camera_id", "start", "end", "quality")
INDICES = {
    "FLAT": ({}, {}),
    "IVF_FLAT": ({"nlist": 1024}, {"nprobe": 32}),
    "HNSW": ({"M": 32, "efConstruction": 200}, {"ef": 256}),
}
"""Parameters of index construction and of search, by type of index."""


@dataclass(frozen=True)
class Address:
    """Address of a gallery: ``uri`` of the client, ``name`` of the collections, type of index."""

    uri: str
    name: str
    index: str


def parse_address(text: str) -> Address:
    """Parse ``milvus://HOST:PORT/NAME[?index=HNSW]``, or a path that ends in ``.db`` (Milvus Lite).

    Raises:
      InputError: the address has another format.
    """
    if found := re.fullmatch(r"milvus://([\w.\-\[\]:]+:[0-9]+)/(\w{1,200})(?:\?index=(\w+))?", text):
        host, name, index = found[1], found[2], (found[3] or "FLAT").upper()
        if index not in INDICES:
            raise InputError(f"{text}: the index is one of {', '.join(INDICES)}.")
        return Address(f"http://{host}", name, index)
    if "://" in text:
        raise InputError(f"{text}: expected a folder, a file FILE.db (Milvus Lite), or milvus://HOST:PORT/NAME.")
    return Address(text, "gallery", "FLAT")


class Client:
    """A ``MilvusClient`` whose methods raise InputError instead of MilvusException.

    Raises:
      InputError: Milvus does not respond.
    """

    def __init__(self, uri: str):
        self._uri = uri
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # logged errors are also raised
        try:
            self._client = MilvusClient(uri=uri, timeout=30)
        except Exception as error:  # the class depends on the version
            raise InputError(f"cannot connect to Milvus at {uri}: is it running there?") from error

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*arguments: Any, **options: Any) -> Any:
            try:
                return method(*arguments, **options)
            except MilvusException as error:
                raise InputError(f"Milvus at {self._uri}: {' '.join(str(error.message).split())[:300]}") from error

        return call


def create(client: Client, name: str, width: int, index: str) -> None:
    """Create a collection."""
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    for field in SCALARS:
        schema.add_field(field, DataType.DOUBLE if COLUMNS[field].kind == "f" else DataType.INT64)
    schema.add_field("text", DataType.VARCHAR, max_length=MAX_TEXT)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=width)
    params = client.prepare_index_params()
    params.add_index("vector", index_type=index, metric_type="L2", params=INDICES[index][0])
    client.create_collection(name, schema=schema, index_params=params, consistency_level="Strong", num_shards=1)


def to_rows(columns: np.ndarray, texts: Sequence[str], vectors: np.ndarray) -> list[dict[str, Any]]:
    """Convert entries to rows of a collection."""
    known = {name: columns[name] for name in ("id", "person_id", "camera_id")}
    known |= {name: columns[name].view(np.int64) for name in ("key", "source")}
    end = np.where(np.isnan(columns["end"]), columns["start"], columns["end"])  # as Where.after does
    known |= {"end": np.nan_to_num(end, nan=UNKNOWN_LOW), "start": np.nan_to_num(columns["start"], nan=UNKNOWN_HIGH)}
    known["quality"] = np.nan_to_num(columns["quality"], nan=UNKNOWN_LOW)
    listed = {name: values.tolist() for name, values in known.items()}
    return [
        {name: values[i] for name, values in listed.items()} | {"text": texts[i], "vector": vectors[i]}
        for i in range(len(columns))
    ]


def to_columns(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Convert rows to ``COLUMNS``; columns that Milvus does not store are 0."""
    found = np.zeros(len(rows), COLUMNS)
    for name in ("id", "person_id", "camera_id", "start", "end", "quality"):
        found[name] = [row[name] for row in rows]
    for name in ("key", "source"):
        found[name] = np.array([row[name] for row in rows], np.int64).view(np.uint64)
    for name in ("start", "end", "quality"):
        found[name] = np.where(np.abs(found[name]) >= UNKNOWN_HIGH, np.nan, found[name])
    return found


def expression(where: Where, first: int, last: int) -> str:
    """Return the filter as a Milvus expression, for entries with ids from ``first`` to ``last``."""
    parts = [f"id >= {first}", f"id <= {last}"]
    for name, wanted in (("id", where.ids), ("person_id", where.persons), ("camera_id", where.cameras)):
        if wanted is not None:
            parts.append(f"{name} in {_list(wanted)}")
    for name, refused in (("id", where.not_ids), ("camera_id", where.not_cameras)):
        if refused:
            parts.append(f"not ({name} in {_list(refused)})")
    if where.sources is not None:
        parts.append(f"source in {_list(signed(digest(source)) for source in where.sources)}")
    if where.after is not None:
        parts.append(f"end >= {float(where.after)!r}")
    if where.before is not None:
        parts.append(f"start <= {float(where.before)!r}")
    if where.min_quality is not None:
        parts.append(f"quality >= {float(where.min_quality)!r}")
    return " and ".join(parts)


def batches(values: list[Any], size: int) -> list[list[Any]]:
    """Split a list into lists of at most ``size`` values."""
    return [values[start : start + size] for start in range(0, len(values), size)]


def signed(key: int) -> int:
    """Convert a 64-bit digest to the signed integer stored in Milvus."""
    return key - 2**64 if key >= 2**63 else key


def _list(values: Any) -> str:
    return str(sorted({int(value) for value in values})).replace(" ", "")
