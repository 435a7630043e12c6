"""Safe opening of user files for reading: regular files only, with a size limit, optionally without symbolic links.

A named pipe, socket or device among the data could block or never end.
"""

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO, cast

NO_FILE = "a pipe, a socket or a device"

LARGEST_TEXT = 2**26
"""Maximum size of a JSON file that is read as a whole (config, marker, header, records), in bytes."""

LARGEST_LIST = 2**29
"""Maximum size of a list of frames, tracklets or boxes, in bytes; MEVID's ten million frame names take 280 MB."""


def open_file(path: str | os.PathLike[str], largest: int | None = None, follow_links: bool = True) -> BinaryIO:
    """Open a regular file for reading, of at most ``largest`` bytes (None: any size).

    If ``follow_links`` is False, the path itself must not be a symbolic link. Raises OSError, whose ``strerror`` states
    the cause, if it cannot be opened, is not a regular file, or is too large.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow_links else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP and not follow_links and os.path.islink(path):
            raise OSError(errno.ELOOP, "it is a symbolic link, which is not followed", str(path)) from error
        if error.errno == errno.ENXIO:  # a socket
            raise OSError(errno.EINVAL, f"it is {NO_FILE}", str(path)) from error
        raise
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, f"it is {NO_FILE}", str(path))
        if largest is not None and status.st_size > largest:
            found = f"it has {status.st_size:,} bytes, more than {largest:,}"
            raise OSError(errno.EFBIG, found, str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_file(path: str | os.PathLike[str], largest: int, follow_links: bool = True) -> bytes:
    """Read a regular file; arguments and errors as for ``open_file``."""
    with open_file(path, largest, follow_links) as file:
        return file.read()


def file_hash(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a regular file. Raises OSError."""
    with open_file(path) as file:
        return hashlib.file_digest(cast(Any, file), "sha256").hexdigest()


def read_text(path: str | os.PathLike[str], largest: int = LARGEST_TEXT, follow_links: bool = True) -> str:
    """Read a UTF-8 text file. Raises ``OSError`` like ``open_file``, and ``UnicodeDecodeError`` (a ValueError)."""
    return read_file(Path(path), largest, follow_links).decode("utf-8")
