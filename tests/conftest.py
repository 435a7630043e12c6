"""Every test runs on the CPU with jit disabled, unless it is marked ``jit``. Eight fake devices are there for the
mesh.
"""

import os
import signal
import tempfile
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Programs are compiled for a few calls each: LLVM's optimiser would take a third of the suite's time, and fusions by
# XLA's newer code generator, in a large step, two thirds of the time that compiling takes. By the environment: so
# do the commands that tests start. XLA ends the process at a flag that it does not know, as jaxlib 0.12 the second.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0"
    + (" --xla_cpu_use_fusion_emitters=false" if version("jaxlib").startswith("0.10.") else ""),
)

import jax
import pytest

from tests.fast import FAST

jax.config.update("jax_num_cpu_devices", 8)
# The same small programs are compiled again and again in a suite: once is enough. By the environment, for the suite's
# processes and those that tests start share what they compile. The folder lives as long as the run.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _COMPILED = tempfile.TemporaryDirectory(prefix="rgcn-jax-tests-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _COMPILED.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

# Begun in the background of a script this process ignores SIGINT, under nohup SIGHUP, and so would every command that a
# test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

TESTS = Path(__file__).parent
REAL_DATA = Path(os.environ.get("RGCN_JAX_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(autouse=True)
def _jit_only_where_marked(request):
    with jax.disable_jit(request.node.get_closest_marker("jit") is None):
        yield


def _is_fast(path: Path) -> bool:
    return path.is_relative_to(TESTS) and path.relative_to(TESTS).as_posix() in FAST


def pytest_ignore_collect(collection_path, config):
    """With ``-m fast`` the other files are not imported."""
    if config.option.markexpr == "fast" and collection_path.suffix == ".py" and not _is_fast(collection_path):
        return True
    return None


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items):
    for item in items:
        if _is_fast(item.path) and not item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.fast)
    if not REAL_DATA.is_dir():
        reason = f"real data not found: no folder {REAL_DATA} (set RGCN_JAX_REAL_DATA to where it is)"
        for item in items:
            if item.get_closest_marker("real_data"):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def real_data() -> Path:
    return REAL_DATA
