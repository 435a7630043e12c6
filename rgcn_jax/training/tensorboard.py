"""TensorBoard event files (extra ``tensorboard``), a copy of ``metrics.jsonl``.

Records are written in the calling thread: the writer thread of tensorboardX dies when the disk is full, after which the
process waits for it forever.
"""

import importlib.util
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

FOLDER = "tensorboard"


def is_installed() -> bool:
    """Whether tensorboardX can be imported."""
    try:
        return importlib.util.find_spec("tensorboardX") is not None
    except ValueError:  # raised if sys.modules has None for it
        return False


class Board:
    """Writes scalars to ``<workdir>/tensorboard``, one file per process.

    When a run is resumed after ``first_step``, the file begins with a marker on which TensorBoard drops later steps of
    earlier files, since they are repeated.
    """

    name = "TensorBoard"

    def __init__(self, workdir: Path, first_step: int):
        self._folder, self._first_step = workdir / FOLDER, first_step
        self._file: IO[bytes] | None = None

    def add(self, scalars: Mapping[str, float | int], step: int) -> None:
        """Write a record for each scalar. Raises ``OSError`` if the write fails."""
        from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
        from tensorboardX.summary import scalar

        file = self._file or self._open()
        for name, value in scalars.items():
            _write(file, Event(wall_time=time.time(), step=step, summary=scalar(name, value)))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> IO[bytes]:
        from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]

        now = time.time()
        self._folder.mkdir(exist_ok=True)
        # TensorBoard sorts files by name, and two processes may start within one second.
        name = f"events.out.tfevents.{now:.6f}.{socket.gethostname()}"
        self._file = (self._folder / name).open("ab", buffering=0)
        _write(self._file, Event(wall_time=now, file_version="brain.Event:2"))
        if self._first_step:
            start = SessionLog(status=SessionLog.START)
            _write(self._file, Event(wall_time=now, step=self._first_step + 1, session_log=start))
        return self._file


def _write(file: IO[bytes], event: Any) -> None:
    """Write a TFRecord: length, its checksum, data, their checksum."""
    from tensorboardX.record_writer import masked_crc32c

    data = event.SerializeToString()
    length = struct.pack("<Q", len(data))
    record = b"".join([length, struct.pack("<I", masked_crc32c(length)), data, struct.pack("<I", masked_crc32c(data))])
    if file.write(record) != len(record):
        raise OSError("incomplete write")
