"""The size of an image from the first bytes of its file, without decoding it."""

import os
import struct
from pathlib import Path

from rgcn_jax.types import InputError


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Height and width in pixels from the header of a JPEG or PNG file. Raises InputError if there is none."""
    try:
        with Path(path).open("rb") as file:
            start = file.read(24)
            width = height = 0
            if start.startswith(b"\x89PNG\r\n\x1a\n"):
                width, height = struct.unpack(">II", start[16:])
            elif start.startswith(b"\xff\xd8"):
                file.seek(2)
                while (marker := file.read(4))[:1] == b"\xff" and len(marker) == 4:
                    if marker[1] == 0xFF:  # a fill byte before the marker
                        file.seek(-3, os.SEEK_CUR)
                    elif 0xC0 <= marker[1] <= 0xCF and marker[1] not in (0xC4, 0xC8, 0xCC):  # start of frame
                        _, height, width = struct.unpack(">BHH", file.read(5))
                        break
                    else:
                        file.seek(int.from_bytes(marker[2:]) - 2, os.SEEK_CUR)
            if width and height:
                return height, width
    except OSError as error:
        raise InputError(f"The image {path} cannot be read ({error.strerror}).") from error
    except struct.error:
        pass  # cut off within the header
    raise InputError(f"{path} is not a whole JPEG or PNG image: copy it from the data set again.")
