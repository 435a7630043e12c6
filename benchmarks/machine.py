"""Description of the machine and libraries, for the first lines of a benchmark's output."""

import os
import platform
from pathlib import Path

from rgcn_jax.runtime.cores import usable_cores


def machine() -> str:
    """Processor, number of usable cores, and load average of the last minute."""
    name = platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        models = [
            line for line in information.read_text(encoding="utf-8").splitlines() if line.startswith("model name")
        ]
        name = models[0].split(":", 1)[1].strip() if models else name
    load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{usable_cores()} core(s) of {name}{load}"


def libraries(with_torch: bool) -> str:
    """Versions, device and CUDA of JAX and PyTorch.

    Exits if only one of them finds a GPU.
    """
    import jax

    device = jax.devices()[0]
    build = " ".join(device.client.platform_version.split())
    found = f"JAX {jax.__version__} on {device.device_kind}" + f" ({build})" * (device.platform == "gpu")
    if not with_torch:
        return found
    import torch

    cuda = torch.cuda.is_available()
    if cuda != (device.platform == "gpu"):
        raise SystemExit(
            f"JAX runs on {device.device_kind}, PyTorch {torch.__version__} on {'a GPU' if cuda else 'the CPU'}, so "
            "nothing is compared: install both for the same device (pip install -e '.[cuda,bench]'), or --no-torch."
        )
    where = f"{torch.get_num_threads()} thread(s)"
    if cuda:
        where = f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    return f"{found}, PyTorch {torch.__version__} ({where})"
