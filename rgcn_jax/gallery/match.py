"""What a search of a gallery finds: an id, a distance, and the entry, which is decoded when it is read."""

from typing import NamedTuple

from rgcn_jax.errors import MALFORMED, as_input_error
from rgcn_jax.gallery.entry import Entry


class Match(NamedTuple):
    """An entry that was found. ``same``: whether it is called the same person at the rate that was asked for; ``text``:
    the entry as JSON.
    """

    id: int
    distance: float
    same: bool | None
    text: bytes

    @property
    def entry(self) -> Entry:
        """What is known of it, decoded when it is asked for. Raises InputError where it is no entry."""
        with as_input_error(f"entry {self.id} was not written by this program", kinds=MALFORMED):
            return Entry.from_json(self.text)
