"""TensorBoard's event file, where tensorboardX is installed (extra ``report``): a copy of ``metrics.jsonl`` to look at.

It never ends a run: after a failed write ``problem`` has the cause. The file is written by the
calling thread; tensorboardX's own writer has a thread that dies of a full disk, and then waits for that for ever.
"""

import socket
import struct
import time
from pathlib import Path
from typing import Any

FOLDER = "tensorboard"


class Board:
    """Writes scalars to ``<workdir>/tensorboard``; does nothing where tensorboardX is not installed."""

    def __init__(self, workdir: Path):
        self.problem = ""
        self._file: Any = None
        try:
            from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
        except ImportError:
            return
        now = time.time()
        try:
            folder = workdir / FOLDER
            folder.mkdir(exist_ok=True)
            self._file = (folder / f"events.out.tfevents.{now:.0f}.{socket.gethostname()}").open("ab", buffering=0)
        except OSError as error:
            self._failed(error)
        self._write(Event(wall_time=now, file_version="brain.Event:2"))

    def add(self, name: str, value: float | int, step: int) -> None:
        """One scalar."""
        if self._file is not None:
            from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
            from tensorboardX.summary import scalar

            self._write(Event(wall_time=time.time(), step=step, summary=scalar(name, value)))

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, event: Any) -> None:
        """A record of the format TFRecord: length, its checksum, data, their checksum."""
        if self._file is None:
            return
        from tensorboardX.record_writer import masked_crc32c

        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        record = b"".join(
            [length, struct.pack("<I", masked_crc32c(length)), data, struct.pack("<I", masked_crc32c(data))]
        )
        try:
            if self._file.write(record) != len(record):
                raise OSError("no room for a whole record")
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        self.close()
        self.problem = f"TensorBoard's file cannot be written ({error.strerror or error}): metrics.jsonl has all of it"
