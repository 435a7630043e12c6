"""JAX's persistent compilation cache, which saves compilation in later runs."""

import os
import stat
from pathlib import Path

import jax


def cache_folder() -> Path:
    """The user's cache folder: ``$XDG_CACHE_HOME/rgcn_jax/compiled``, by default ``~/.cache/rgcn_jax/compiled``.

    Never in a work directory, which may come from others, since its files are executed as native code.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(base) / "rgcn_jax" / "compiled"


def keep_compiled(enabled: bool = True) -> str:
    """Enable JAX's persistent compilation cache in ``cache_folder()``, if ``enabled`` (``config.compilation_cache``).

    A folder that is already set, by JAX_COMPILATION_CACHE_DIR or in a program, is kept. Call it before the first
    compilation. The cache keeps programs that took at least a second to compile. Its keys include program, versions and
    devices, so entries are never stale; it can be deleted at any time. Returns a message if the folder cannot be used
    and there is no cache, else "".
    """
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR") or getattr(jax.config, "jax_compilation_cache_dir", None)
    if not enabled or chosen:
        return ""
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = folder.stat()
        if status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return f"compiled programs are not cached: other users can write to {folder}, whose files are executed"
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home folder
        return f"compiled programs are not cached: their folder cannot be written ({error})"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    return ""
