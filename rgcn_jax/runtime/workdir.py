"""The work directory of a run: created, and locked against a second run."""

import fcntl
import os
import socket
from contextlib import suppress
from pathlib import Path

from rgcn_jax.errors import InputError, as_input_error
from rgcn_jax.runtime.files import refuse_link, refuse_links, remove_unfinished
from rgcn_jax.runtime.handed_over import open_file

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
"""What a run writes in its work directory."""

WRITTEN_BY_OTHERS = "wandb"
"""A folder in it that another program fills; it keeps links there, and begins a new folder at each start."""


class InUseError(InputError):
    """Another run holds the work directory."""


class WorkDir:
    """A work directory that one run holds while this is entered; of several processes, the first (``holds``).

    There are two locks, both ``flock``'s: one on the folder itself, so that a run is alone also where somebody removes
    the file ``lock``, and one on that file, which names the holder, for file systems that lock files only (NFS). The
    kernel releases them however the holder ends, by SIGKILL too, so that no lock is ever stale. They hold between
    machines where the file system has locks (NFS since Linux 2.6.12, GPFS, Lustre with ``-o flock``); where it has none
    at all, this is printed and the run continues.
    """

    def __init__(self, path: Path, holds: bool = True):
        self.path, self._holds = path, holds
        self._locks: list[int] = []

    def __enter__(self) -> "WorkDir":
        if self.path.is_dir():
            self.hold()
        return self

    def hold(self) -> None:
        """Makes the folder if there is none, takes the lock unless it is held, and removes what a killed run left of
        files that it was writing.

        Raises:
          InUseError: another run holds it.
          InputError: the folder cannot be made or written, or what a run writes there is a link.
        """
        if self._locks or not self._holds:
            return
        with as_input_error(f"--workdir={self.path} cannot be made a folder", "choose another"):
            self.path.mkdir(parents=True, exist_ok=True)
        refuse_links(self.path, WRITTEN)
        refuse_link(self.path / WRITTEN_BY_OTHERS)
        try:
            self._lock_folder()
            self._lock_file()
            remove_unfinished(self.path)
        except OSError as error:
            self._release()
            raise InputError(
                f"--workdir={self.path} cannot be written ({error.strerror}): make room or fix the permissions, or "
                "choose another."
            ) from error
        except InputError:
            self._release()
            raise

    def _lock_folder(self) -> None:
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._locks.append(folder)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise self._held() from error
        except OSError:  # a file system that locks files only
            pass

    def _lock_file(self) -> None:
        lock = os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        self._locks.append(lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise self._held() from error
        except OSError as error:
            print(f"{self.path} cannot be locked ({error.strerror}): make sure that no other run uses it", flush=True)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def _held(self) -> InUseError:
        holder = ""
        with suppress(OSError, ValueError), open_file(self.path / LOCK_FILE, follow_links=False) as file:
            holder = file.read(200).decode("utf-8", "replace").strip()
        return InUseError(
            f"another run ({holder or 'unknown'}) trains in {self.path}: choose another --workdir, or wait until it "
            "has ended."
        )

    def _release(self) -> None:
        while self._locks:
            os.close(self._locks.pop())

    def __exit__(self, *_: object) -> None:
        self._release()  # the file stays: to remove it would let a third run lock another one of its name
