"""JAX's persistent compilation cache: the second start of a run, or another run, does not compile again."""

import os
import stat
from pathlib import Path

import jax


def cache_folder() -> Path:
    """The user's own: ``$XDG_CACHE_HOME/rgcn_jax/compiled``, by default ``~/.cache/rgcn_jax/compiled``.

    Never beside or in a work directory, which may come from others: files in the folder are run as native code.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(base) / "rgcn_jax" / "compiled"


def keep_compiled(enabled: bool = True) -> str:
    """Turns JAX's persistent compilation cache on, in ``cache_folder()``, or leaves it as it is.

    A folder that is chosen already, by JAX_COMPILATION_CACHE_DIR or in a program of one's own, is respected. To be
    called before anything is compiled. The cache keeps what took a second or longer to compile; its keys hold the
    program, the versions and the devices, so nothing stale is found in it, and it can be deleted at any time.

    Args:
      enabled: ``config.compilation_cache``.

    Returns:
      A line for the user where the folder cannot be used and the run continues without a cache, else "".
    """
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR") or getattr(jax.config, "jax_compilation_cache_dir", None)
    if not enabled or chosen:
        return ""
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = folder.stat()
        if status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return f"compiled programs are not kept: others can write {folder}, and what lies there is run"
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home folder
        return f"compiled programs are not kept: their folder cannot be written ({error})"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    return ""
