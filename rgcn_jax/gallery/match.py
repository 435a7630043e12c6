"""Search results of a gallery: id, distance, and the entry, which is decoded lazily."""

from typing import NamedTuple

from rgcn_jax.errors import MALFORMED, as_input_error
from rgcn_jax.gallery.entry import Entry


class Match(NamedTuple):
    """An entry in the results of a search.

    ``same`` is the verdict "same person" at the requested false positive rate. ``text`` is the entry as JSON.
    """

    id: int
    distance: float
    same: bool | None
    text: bytes

    @property
    def entry(self) -> Entry:
        """The entry, decoded on access. Raises InputError if the text is invalid."""
        with as_input_error(f"entry {self.id} was not written by this program", kinds=MALFORMED):
            return Entry.from_json(self.text)
