"""Store of a gallery in Milvus: a server or cluster by address, or Milvus Lite in a file.

Commit protocol: ``add`` inserts its rows, then a commit row with the negative id -(generation + 1). The commit row
stores the last valid id and the binding. Rows beyond the last valid id, left by a killed process, are deleted by the
next ``add``. Only one process may add at a time.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import rgcn_jax.gallery.entry as entries_
import rgcn_jax.gallery.milvus_collections as collections
from rgcn_jax.errors import MALFORMED, InputError, as_input_error
from rgcn_jax.gallery.entry import EVERYTHING, Entry, Where, check_new
from rgcn_jax.gallery.hybrid_search import hybrid_search
from rgcn_jax.gallery.manifest import FORMAT, check_binding
from rgcn_jax.gallery.nearest import Nearest, Weights


class MilvusStore:
    """A gallery in Milvus.

    Args:
      address: address of the gallery.
      binding: binding of a new gallery; None if the gallery must exist.
      files: folder of crops and audit log; None for no folder.

    Attributes:
      binding: binding of the gallery.
      folder: ``files``.

    Raises:
      InputError: the server does not respond, there is no gallery, or the name belongs to another program.
    """

    def __init__(self, address: collections.Address, binding: Mapping[str, Any] | None, files: Path | None):
        self._address, self.folder = address, files
        if address.uri.endswith(".db") and binding is None and not Path(address.uri).exists():
            raise InputError(f"there is no gallery in {address.uri}: rgcn-jax gallery add makes one.")
        self._client = collections.Client(address.uri)
        self._names = tuple(f"{address.name}_{branch}" for branch in ("appearance", "pose"))
        self._about: dict[str, Any] = {}
        there = [name for name in self._names if self._client.has_collection(name)]
        for name in there:
            self._client.load_collection(name)
        if self._names[0] not in there or not self._last()[0]:
            if binding is None:
                raise InputError(f"there is no gallery {address.name} in {address.uri}.")
            self._create(binding)
        self.binding: dict[str, Any] = self._about["binding"]
        self._widths: Sequence[int] = self.binding["widths"]
        self._branches = [b for b in (0, 1) if self._widths[b]]
        self._parts = slice(0, self._widths[0]), slice(self._widths[0], None)

    def _create(self, binding: Mapping[str, Any]) -> None:
        self._widths = binding["widths"]
        for branch in (1, 0):
            width = self._widths[branch]
            if width and not self._client.has_collection(self._names[branch]):
                collections.create(self._client, self._names[branch], width, self._address.index)
        self._about = {"format": FORMAT, "version": 1, "index": self._address.index, "binding": dict(binding)}
        self._commit(1, 0)

    def _commit(self, generation: int, last: int) -> None:
        """Make entries with ids up to ``last`` valid by writing a new commit row."""
        row = np.zeros(1, entries_.COLUMNS)
        row["id"] = -generation
        nothing = np.zeros((1, self._widths[0]), np.float32)
        self._insert(0, collections.to_rows(row, [json.dumps({**self._about, "last": last})], nothing))
        self._client.delete(self._names[0], filter=f"id < 0 and id > {-generation}")

    def _last(self) -> tuple[int, int]:
        """Return the generation and the last valid id; both 0 if the gallery does not exist yet."""
        rows = self._client.query(self._names[0], filter="id < 0", output_fields=["id", "text"])
        if not rows:
            return 0, 0
        newest = min(rows, key=lambda row: row["id"])
        with as_input_error(f"the collection {self._names[0]} is no gallery of this program", kinds=MALFORMED):
            about = json.loads(newest["text"])
            if (about["format"], about["version"]) != (FORMAT, 1) or about["index"] not in collections.INDICES:
                raise ValueError(newest["text"][:100])
            check_binding(about["binding"])
            if type(about["last"]) is not int or not 0 <= about["last"] < 2**62:
                raise ValueError(f"last is {str(about['last'])[:100]}")
        self._about = about
        return -newest["id"], about["last"]

    @property
    def columns(self) -> np.ndarray:
        """``COLUMNS`` of all entries, sorted by id."""
        return collections.to_columns(list(self._rows(EVERYTHING, *collections.SCALARS)))

    def count(self, where: Where) -> int:
        """Return the number of entries."""
        return self._count(0, where)

    def _count(self, branch: int, where: Where) -> int:
        chosen = collections.expression(where, 1, self._last()[1])
        return int(self._client.query(self._names[branch], filter=chosen, output_fields=["count(*)"])[0]["count(*)"])

    def entries(self, where: Where) -> Iterator[tuple[int, bytes]]:
        """Iterate over ids and JSON texts of entries, sorted by id."""
        return ((row["id"], row["text"].encode()) for row in self._rows(where, "text"))

    def texts(self, ids: Collection[int]) -> dict[int, bytes]:
        """Return the JSON texts of entries by id. Missing ids are omitted."""
        return {row["id"]: row["text"].encode() for row in self._by_ids(0, ids, ("text",))}

    def contains(self, keys: Collection[int]) -> list[bool]:
        """Return for each key whether its entry is in the gallery."""
        wanted, there = [collections.signed(key) for key in keys], set()
        last = self._last()[1]
        for some in collections.batches(wanted, collections.ROWS):
            chosen = f"id >= 1 and id <= {last} and key in {some}"
            rows = self._client.query(self._names[0], filter=chosen, output_fields=["key"])
            there.update(row["key"] for row in rows)
        return [key in there for key in wanted]

    def vectors(self, where: Where) -> tuple[np.ndarray, np.ndarray]:
        """Return ids and features of entries, sorted by id."""
        ids = [row["id"] for row in self._rows(where)]
        return np.array(ids, np.int64), self._features(ids, self._branches)[1]

    def add(self, vectors: np.ndarray, entries: Sequence[Entry]) -> list[int]:
        """Add entries with their features and return their ids. Atomic: all become valid, or none."""
        check_new(entries, self.contains([entry.key for entry in entries]))
        generation, last = self._last()
        columns, data = entries_.to_columns(entries, last + 1, np.zeros((2, len(entries))))
        ends = np.cumsum(columns["text"].astype(np.int64)).tolist()
        texts = [data[a:b].decode() for a, b in zip([0, *ends], ends, strict=False)]
        if columns["text"].max() > collections.MAX_TEXT:
            raise InputError(f"the names of an entry take more than {collections.MAX_TEXT:,} bytes.")
        for branch in reversed(self._branches):
            self._client.delete(self._names[branch], filter=f"id > {last}")
            rows = collections.to_rows(columns, ["" if branch else t for t in texts], vectors[:, self._parts[branch]])
            self._insert(branch, rows)
        self._commit(generation + 1, last + len(entries))
        return columns["id"].tolist()

    def _insert(self, branch: int, rows: list[dict[str, Any]]) -> None:
        for some in collections.batches(rows, max(collections.REQUEST_BYTES // (4 * self._widths[branch] + 2000), 1)):
            self._client.insert(self._names[branch], some)

    def remove(self, where: Where) -> int:
        """Delete entries and return their number. Milvus removes them from its disk at compaction."""
        ids = [row["id"] for row in self._rows(where)]
        for branch in reversed(self._branches):  # first collection last, so that remove can be rerun
            for some in collections.batches(ids, collections.ROWS):
                self._client.delete(self._names[branch], filter=f"id in {some}")
        return len(ids)

    def check(self) -> None:
        """Raise InputError if an entry lacks the features of a branch."""
        counts = [self._count(branch, EVERYTHING) for branch in self._branches]
        if len({*counts}) > 1:
            raise InputError(f"{self._names} have {counts} entries: remove was interrupted, rerun it.")

    def compact(self) -> int:
        """Request compaction, which Milvus runs asynchronously. Return the number of collections."""
        for branch in self._branches:
            self._client.flush(self._names[branch])
            self._client.compact(self._names[branch])
        return len(self._branches) if self.count(EVERYTHING) else 0

    def search(self, queries: np.ndarray, weights: tuple[float, float], k: int, where: Where) -> list[Nearest]:
        """Return the k nearest entries of each query."""
        if not len(queries):
            return []
        chosen = collections.expression(where, 1, self._last()[1])
        nearest_of = partial(self._nearest_of, chosen)
        return hybrid_search(nearest_of, self._features, queries, Weights(*weights, self._widths[0]), k)

    def _nearest_of(self, chosen: str, branch: int, queries: np.ndarray, limit: int) -> list[list[int]]:
        """Return the ids of the nearest entries of each query by one branch."""
        params = dict(collections.INDICES[self._about["index"]][1])
        if "ef" in params:
            params["ef"] = max(params["ef"], limit)
        found = self._client.search(
            self._names[branch],
            data=list(queries),
            anns_field="vector",
            limit=limit,
            filter=chosen,
            search_params={"metric_type": "L2", "params": params},
        )
        return [[hit["id"] for hit in hits] for hits in found]

    def _features(self, ids: Collection[int], branches: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids present in all given branches, ascending, and their features; zeros for other branches."""
        rows = {b: {r["id"]: r["vector"] for r in self._by_ids(b, ids, ("vector",))} for b in branches}
        there = sorted(set.intersection(*({*of} for of in rows.values())))
        found = np.zeros((len(there), sum(self._widths)), np.float32)
        for b, of in rows.items():
            if there:
                found[:, self._parts[b]] = np.array([of[i] for i in there], np.float32)
        return np.array(there, np.int64), found

    def _by_ids(self, branch: int, ids: Collection[int], fields: Sequence[str]) -> Iterator[dict[str, Any]]:
        together = max(collections.REQUEST_BYTES // (4 * self._widths[branch] + 100), 1)
        for some in collections.batches(sorted(ids), min(together, collections.ROWS)):
            yield from self._client.query(self._names[branch], filter=f"id in {some}", output_fields=["id", *fields])

    def _rows(self, where: Where, *fields: str) -> Iterator[dict[str, Any]]:
        """Iterate over rows of entries, sorted by id.

        The rows are queried by ranges of ids, because Milvus limits the results of a query and does not sort them.
        """
        last = self._last()[1]
        for first in range(1, last + 1, collections.ROWS):
            chosen = collections.expression(where, first, min(first + collections.ROWS - 1, last))
            rows = self._client.query(self._names[0], filter=chosen, output_fields=["id", *fields])
            yield from sorted(rows, key=lambda row: row["id"])
