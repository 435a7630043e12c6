"""Store of a gallery in Milvus: a server or cluster by address, or Milvus Lite in a file.

Commit protocol: ``add`` inserts its rows, then a commit row with the negative id -(generation + 1). The commit row
stores the last valid id and the binding. Rows beyond the last valid id, left by a killed process, are deleted by the
next ``add``. Only one process may add at a time.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import rgcn_jax.gallery.entry as entries_
import rgcn_jax.gallery.milvus_collections as collections
from rgcn_jax.errors import MALFORMED, InputError, as_input_error
from rgcn_jax.gallery.entry import EVERYTHING, Entry, Where, check_new
from rgcn_jax.gallery.hybrid_search import hybrid_search
from rgcn_jax.gallery.manifest import check_binding
from rgcn_jax.gallery.nearest import Nearest, Weights

FORMAT = "rgcn_jax gallery"


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
        self._client = collections.connect(address)
        self._names = tuple(f"{address.name}_{branch}" for branch in ("appearance", "pose"))
        with collections.one_sentence(address):
            self._widths: Sequence[int] = binding["widths"] if binding else (1, 1)
            self._about: dict[str, Any] = {}
            if not self._load() or not self._last()[0]:
                if binding is None:
                    raise InputError(f"there is no gallery {address.name} in {address.uri}.")
                self._create(binding)
            self._last()
        self.binding: dict[str, Any] = self._about["binding"]
        self._widths = self.binding["widths"]
        self._branches = [b for b in (0, 1) if self._widths[b]]

    def _load(self) -> bool:
        """Load the collections for queries. Return whether the gallery exists."""
        there = [name for name in self._names if self._client.has_collection(name)]
        for name in there:
            self._client.load_collection(name)
        return self._names[0] in there

    def _create(self, binding: Mapping[str, Any]) -> None:
        for branch in (1, 0):
            width = binding["widths"][branch]
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
        try:
            about = json.loads(newest["text"])
            if (about["format"], about["version"]) != (FORMAT, 1) or about["index"] not in collections.INDICES:
                raise ValueError(newest["text"][:100])
            check_binding(about["binding"])
            if type(about["last"]) is not int or not 0 <= about["last"] < 2**62:
                raise ValueError(f"last is {str(about['last'])[:100]}")
            self._about = about
            return -newest["id"], about["last"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(f"the collection {self._names[0]} is no gallery of this program.") from error

    @property
    def columns(self) -> np.ndarray:
        """``COLUMNS`` of all entries, sorted by id."""
        rows = [row for part in self._rows(0, EVERYTHING, collections.SCALARS) for row in part]
        return collections.to_columns(rows)

    def count(self, where: Where) -> int:
        """Return the number of entries."""
        with collections.one_sentence(self._address):
            chosen = collections.expression(where, 1, self._last()[1])
            return int(self._client.query(self._names[0], filter=chosen, output_fields=["count(*)"])[0]["count(*)"])

    def entries(self, where: Where) -> Iterator[tuple[int, Entry]]:
        """Iterate over ids and entries, sorted by id."""
        for part in self._rows(0, where, ("text",)):
            for row in part:
                yield row["id"], self._entry(row)

    def texts(self, ids: Collection[int]) -> dict[int, bytes]:
        """Return the JSON texts of entries by id. Missing ids are omitted."""
        return {row["id"]: row["text"].encode() for row in self._by_ids(0, ids, ("text",))}

    def contains(self, keys: Collection[int]) -> list[bool]:
        """Return for each key whether its entry is in the gallery."""
        wanted, there = [collections.signed(key) for key in keys], set()
        with collections.one_sentence(self._address):
            last = self._last()[1]
            for start in range(0, len(wanted), collections.ROWS):
                chosen = f"id >= 1 and id <= {last} and key in {wanted[start : start + collections.ROWS]}"
                rows = self._client.query(self._names[0], filter=chosen, output_fields=["key"])
                there.update(row["key"] for row in rows)
        return [key in there for key in wanted]

    def vectors(self, where: Where) -> tuple[np.ndarray, np.ndarray]:
        """Return ids and features of entries, sorted by id."""
        ids = [i for part in self._rows(0, where, ("key",)) for i in (row["id"] for row in part)]
        return np.array(ids, np.int64), self._features(ids, self._branches)[1]

    def add(self, vectors: np.ndarray, entries: Sequence[Entry]) -> list[int]:
        """Add entries with their features and return their ids. Atomic: all become valid, or none."""
        check_new(entries, self.contains([entry.key for entry in entries]))
        with collections.one_sentence(self._address):
            generation, last = self._last()
            columns, data = entries_.to_columns(entries, last + 1, np.zeros((2, len(entries))))
            ends = np.cumsum(columns["text"].astype(np.int64)).tolist()
            texts = [data[a:b].decode() for a, b in zip([0, *ends], ends, strict=False)]
            if columns["text"].max() > collections.MAX_TEXT:
                raise InputError(f"the names of an entry take more than {collections.MAX_TEXT:,} bytes.")
            for branch in reversed(self._branches):
                self._client.delete(self._names[branch], filter=f"id > {last}")
                part = vectors[:, : self._widths[0]] if branch == 0 else vectors[:, self._widths[0] :]
                self._insert(branch, collections.to_rows(columns, ["" if branch else t for t in texts], part))
            self._commit(generation + 1, last + len(entries))
        return columns["id"].tolist()

    def _insert(self, branch: int, rows: list[dict[str, Any]]) -> None:
        together = max(collections.REQUEST_BYTES // (4 * self._widths[branch] + 2000), 1)
        for start in range(0, len(rows), together):
            self._client.insert(self._names[branch], rows[start : start + together])

    def remove(self, where: Where) -> int:
        """Delete entries and return their number. Milvus removes them from its disk at compaction."""
        ids = [row["id"] for part in self._rows(0, where, ("key",)) for row in part]
        with collections.one_sentence(self._address):
            for branch in reversed(self._branches):  # first collection last, so that remove can be rerun
                for start in range(0, len(ids), collections.ROWS):
                    chosen = f"id in {ids[start : start + collections.ROWS]}"
                    self._client.delete(self._names[branch], filter=chosen)
        return len(ids)

    def check(self) -> None:
        """Raise InputError if an entry lacks the features of a branch."""
        with collections.one_sentence(self._address):
            chosen = collections.expression(EVERYTHING, 1, self._last()[1])
            counts = [
                self._client.query(self._names[b], filter=chosen, output_fields=["count(*)"])[0]["count(*)"]
                for b in self._branches
            ]
        if len({*counts}) > 1:
            raise InputError(f"{self._names} have {counts} entries: remove was interrupted, rerun it.")

    def compact(self) -> int:
        """Request compaction, which Milvus runs asynchronously. Return the number of collections."""
        with collections.one_sentence(self._address):
            for branch in self._branches:
                self._client.flush(self._names[branch])
                self._client.compact(self._names[branch])
        return len(self._branches) if self.count(EVERYTHING) else 0

    def search(self, queries: np.ndarray, weights: tuple[float, float], k: int, where: Where) -> list[Nearest]:
        """Return the k nearest entries of each query; ``positions`` are ids."""
        if not len(queries):
            return []
        with collections.one_sentence(self._address):
            chosen = collections.expression(where, 1, self._last()[1])
        both = Weights(*weights, self._widths[0])

        def nearest_of(branch: int, some: np.ndarray, limit: int) -> list[list[int]]:
            return self._nearest_of(branch, some, chosen, limit)

        return hybrid_search(nearest_of, self._features, queries, both, k)

    def _nearest_of(self, branch: int, queries: np.ndarray, chosen: str, limit: int) -> list[list[int]]:
        """Return the ids of the nearest entries of each query by one branch."""
        params = dict(collections.INDICES[self._about["index"]][1])
        if "ef" in params:
            params["ef"] = max(params["ef"], limit)
        with collections.one_sentence(self._address):
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
            part = slice(0, self._widths[0]) if b == 0 else slice(self._widths[0], None)
            if there:
                found[:, part] = np.array([of[i] for i in there], np.float32)
        return np.array(there, np.int64), found

    def _by_ids(self, branch: int, ids: Collection[int], fields: Sequence[str]) -> Iterator[dict[str, Any]]:
        wanted = sorted(ids)
        together = max(collections.REQUEST_BYTES // (4 * self._widths[branch] + 100), 1)
        for start in range(0, len(wanted), min(together, collections.ROWS)):
            part = wanted[start : start + min(together, collections.ROWS)]
            with collections.one_sentence(self._address):
                yield from self._client.query(
                    self._names[branch], filter=f"id in {part}", output_fields=["id", *fields]
                )

    def _rows(self, branch: int, where: Where, fields: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
        """Iterate over rows of entries, sorted by id.

        The rows are queried by ranges of ids, because Milvus limits the results of a query and does not sort them.
        """
        with collections.one_sentence(self._address):
            last = self._last()[1]
        for first in range(1, last + 1, collections.ROWS):
            with collections.one_sentence(self._address):
                chosen = collections.expression(where, first, min(first + collections.ROWS - 1, last))
                rows = self._client.query(self._names[branch], filter=chosen, output_fields=["id", *fields])
            yield sorted(rows, key=lambda row: row["id"])

    def _entry(self, row: Mapping[str, Any]) -> Entry:
        with as_input_error(f"entry {row['id']} was not written by this program", kinds=MALFORMED):
            return Entry.from_json(row["text"].encode())
