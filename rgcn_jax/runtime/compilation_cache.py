"""Compiled programs kept on disk: the second start of a run, or another run beside it, does not compile again."""

import os
from pathlib import Path

import jax

FOLDER = "compiled"
"""Beside the work directory, so that runs in one folder of runs share what they have in common."""


def keep_compiled(workdir: Path, enabled: bool = True) -> str:
    """Turns JAX's persistent compilation cache on, in ``<workdir>/../compiled``, or leaves it as it is.

    A folder that is chosen already, by JAX_COMPILATION_CACHE_DIR or in a program of one's own, is respected. To be
    called before anything is compiled. The cache keeps what took a second or longer to compile; its keys hold the
    program, the versions and the devices, so nothing stale is found in it, and it can be deleted at any time.

    Args:
      workdir: of the run.
      enabled: ``config.compilation_cache``.

    Returns:
      A line for the user where the folder cannot be written and the run goes on without a cache, else "".
    """
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR") or getattr(jax.config, "jax_compilation_cache_dir", None)
    if not enabled or chosen:
        return ""
    folder = workdir.resolve().parent / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        return f"compiled programs are not kept: {folder} cannot be written ({error.strerror})"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    return ""
