"""Work directory of a run: creation, and locking against a second run."""

import fcntl
import os
import socket
from contextlib import suppress
from pathlib import Path

from rgcn_jax.errors import InputError, as_input_error
from rgcn_jax.runtime.files import refuse_link, refuse_links, remove_unfinished
from rgcn_jax.runtime.user_files import open_file

LOCK_FILE = "lock"

WRITTEN = (
    LOCK_FILE,
    "config.json",
    "config_changes.jsonl",
    "inputs.json",
    "metrics.jsonl",
    "results.json",
    "checkpoints",
    "nonfinite",
    "profile",
    "tensorboard",
    "tracker.json",
)
"""Files and folders that a run writes in its work directory."""

WRITTEN_BY_OTHERS = "wandb"
"""A folder in it that wandb fills: it contains links, and gets a new folder at each start."""


class InUseError(InputError):
    """Raised if another run has locked the work directory."""


class WorkDir:
    """Context manager that locks a work directory for one run; of several processes, the first one (``holds``) does.

    There are two locks by ``flock``: on the folder itself, which also works if the file ``lock`` is removed, and on
    that file, which names the holder, for file systems that lock only files (NFS). The kernel releases them when the
    holder ends, even by SIGKILL, so locks are never stale. They work between machines if the file system supports locks
    (NFS since Linux 2.6.12, GPFS, Lustre with ``-o flock``); without any locks, a warning is printed and the run
    continues.
    """

    def __init__(self, path: Path, holds: bool = True):
        self.path, self._holds = path, holds
        self._locks: list[int] = []

    def __enter__(self) -> "WorkDir":
        if self.path.is_dir():
            self.hold()
        return self

    def hold(self) -> None:
        """Create the folder if necessary, lock it unless already locked, and remove unfinished files of a killed run.

        Raises InUseError if another run has locked it, and InputError if the folder cannot be created or written, or
        contains a link in place of a file to be written.
        """
        if self._locks or not self._holds:
            return
        with as_input_error(f"--workdir={self.path} cannot be created", "choose another folder"):
            self.path.mkdir(parents=True, exist_ok=True)
        refuse_links(self.path, WRITTEN)
        refuse_link(self.path / WRITTEN_BY_OTHERS)
        todo = "free disk space, fix the permissions, or choose another"
        try:
            with as_input_error(f"--workdir={self.path} cannot be written", todo):
                self._lock(self.path, os.O_RDONLY | os.O_DIRECTORY)  # fails where only files can be locked
                lock, failed = self._lock(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
                if failed:
                    reason = f"{self.path} cannot be locked ({failed})"
                    print(f"{reason}: make sure that no other run uses it", flush=True)
                os.ftruncate(lock, 0)
                os.pwrite(lock, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
                remove_unfinished(self.path)
        except InputError:
            self._release()
            raise

    def _lock(self, path: Path, flags: int) -> tuple[int, str]:
        """Open and lock a path; return its descriptor, and why it cannot be locked, if the file system cannot."""
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o644)
        self._locks.append(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise self._held() from error
        except OSError as error:
            return descriptor, error.strerror or str(error)
        return descriptor, ""

    def _held(self) -> InUseError:
        holder = ""
        with suppress(OSError, ValueError), open_file(self.path / LOCK_FILE, follow_links=False) as file:
            holder = file.read(200).decode("utf-8", "replace").strip()
        return InUseError(
            f"another run ({holder or 'unknown'}) is training in {self.path}: choose another --workdir, or wait until "
            "it has ended."
        )

    def _release(self) -> None:
        while self._locks:
            os.close(self._locks.pop())

    def __exit__(self, *_: object) -> None:
        self._release()  # the file is kept: if it were removed, a third run could lock a new file of that name
