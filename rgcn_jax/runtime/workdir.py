"""The work directory of a run: created, and locked against a second run."""

import fcntl
import os
import socket
from pathlib import Path

from rgcn_jax.errors import InputError
from rgcn_jax.runtime.files import remove_unfinished

LOCK_FILE = "lock"


class WorkDir:
    """A work directory that one run holds while this is entered; of several processes, the first (``holds``).

    The lock is ``flock``'s on the file ``lock``, which names the holder: the kernel gives it back however the holder
    ends, by SIGKILL too, so that no lock is ever stale. It holds between machines where the file system has it (NFS
    since Linux 2.6.12, GPFS, Lustre with ``-o flock``); where it has none at all, a line says so and the run continues.
    """

    def __init__(self, path: Path, holds: bool = True):
        self.path, self._holds = path, holds
        self._lock = -1

    def __enter__(self) -> "WorkDir":
        if self.path.is_dir():
            self.hold()
        return self

    def hold(self) -> None:
        """Makes the folder if there is none, takes the lock unless it is held, and removes what a killed run left of
        files that it was writing.

        Raises:
          InputError: the folder cannot be made or written, or another run holds it.
        """
        if self._lock >= 0 or not self._holds:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"--workdir={self.path} cannot be made a folder ({error.strerror}): choose another."
            ) from error
        file = self.path / LOCK_FILE
        try:
            lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise InputError(f"--workdir={self.path} cannot be written ({error.strerror}): choose another.") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(lock, 200, 0).decode("utf-8", "replace").strip() or "unknown"
            os.close(lock)
            raise InputError(
                f"another run ({holder}) trains in {self.path}: choose another --workdir, or wait until it has ended."
            ) from error
        except OSError as error:
            print(f"{self.path} cannot be locked ({error.strerror}): see to it that no other run uses it", flush=True)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        self._lock = lock
        remove_unfinished(self.path)

    def __exit__(self, *_: object) -> None:
        if self._lock >= 0:
            os.close(self._lock)  # the file stays: to remove it would let a third run lock another one of its name
            self._lock = -1
