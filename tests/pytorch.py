"""PyTorch for the tests that compare with it: skipped where it is not installed, unless the run requires it."""

import importlib
import os
from typing import Any

import pytest


def torch() -> Any:
    """The module, on one thread: on a busy machine others would spin. With RGCN_JAX_REQUIRE_TORCH=1, as in ``.ci/run``,
    a missing PyTorch is an error.
    """
    if os.environ.get("RGCN_JAX_REQUIRE_TORCH"):
        module = importlib.import_module("torch")
    else:
        module = pytest.importorskip("torch", reason="PyTorch is not installed: pip install -e '.[torch]'")
    module.set_num_threads(1)
    return module
