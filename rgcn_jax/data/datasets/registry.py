"""Registry of the data sets that are read from a folder: name -> loader and number of published splits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rgcn_jax.command import Parser
from rgcn_jax.data.datasets import ccvid, custom, dukemtmc_vidreid, ilids_vid, ls_vid, mars, mevid, prid2011
from rgcn_jax.errors import InputError
from rgcn_jax.types import Split


@dataclass(frozen=True)
class DataSet:
    """Loader of a data set.

    ``read``: folder, ``follow_links=`` -> ``Split``; with several published splits also ``split_number=``, from 1.
    ``count_splits``: folder -> number of published splits; None: one split.
    """

    read: Callable[..., Split]
    count_splits: Callable[[Path], int] | None = None

    def load(self, root: Path, split_number: int = 1, follow_links: bool = False) -> Split:
        """Read one published split. ``follow_links``: whether to follow symbolic links out of the folder.

        Raises InputError: the folder is invalid, or the split does not exist.
        """
        if self.count_splits is not None:
            return self.read(root, split_number=split_number, follow_links=follow_links)
        if split_number != 1:
            raise InputError(f"there is no split {split_number}, since the data set has one: leave it at 1.")
        return self.read(root, follow_links=follow_links)

    def num_splits(self, root: Path) -> int:
        """Number of published splits, from the files in the folder. Raises InputError if these cannot be read."""
        return 1 if self.count_splits is None else self.count_splits(root)


DATA_SETS: Mapping[str, DataSet] = {
    "mars": DataSet(partial(mars.load, check_files=True)),
    "dukemtmc_vidreid": DataSet(dukemtmc_vidreid.load),
    "ilids_vid": DataSet(ilids_vid.load, ilids_vid.num_splits),
    "prid2011": DataSet(prid2011.load, prid2011.num_splits),
    "ls_vid": DataSet(ls_vid.load),
    "ccvid": DataSet(ccvid.load),
    "mevid": DataSet(mevid.load),
    "folder": DataSet(custom.load),
}
"""Data sets by ``data.name``."""

SEVERAL_SPLITS = tuple(name for name, data_set in DATA_SETS.items() if data_set.count_splits is not None)
"""Names of the data sets with several published splits."""


def add_follow_links(parser: Parser) -> None:
    """Add ``--follow-links`` to the flags of a command that reads a data set's folder."""
    parser.switch("--follow-links", "read folders and files of the data set that are symbolic links out of its root")
