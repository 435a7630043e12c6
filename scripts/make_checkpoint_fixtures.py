"""Generator of two small checkpoints of PyTorch projects in tests/models/data/, and PyTorch's features of one of them.

    python -m scripts.make_checkpoint_fixtures

Requires PyTorch (made with 2.13 on the CPU); the tests use only the files. ``bicnet.pth.tar`` is a BiCnet-TKS as saved
by its authors' program (PyTorch 1.7), in half precision. ``bicnet_features.npz`` has its f_a of random clips.
``video_person_reid.pth.tar`` has the weights of ``small_trunk.npz`` under Video-Person-ReID's names, in the format of
PyTorch before 1.6, from a model in ``nn.DataParallel``.
"""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch

from tests.models.torch_networks import bicnet_features, bicnet_shapes, drawn, drawn_clips, sequential

DATA = Path(__file__).parents[1] / "tests" / "models" / "data"


def write_bicnet(folder: Path) -> None:
    """Write the BiCnet-TKS checkpoint and its features."""
    weights = drawn(bicnet_shapes())
    state = OrderedDict((name, torch.from_numpy(value).half()) for name, value in weights.items())
    state["bn1.num_batches_tracked"] = torch.tensor(7)
    torch.save({"state_dict": state, "rank1": np.float64(0.902), "epoch": 150}, folder / "bicnet.pth.tar")
    np.savez(folder / "bicnet_features.npz", f_a=bicnet_features(weights, drawn_clips()))


def write_video_person_reid(folder: Path) -> None:
    """Write the Video-Person-ReID checkpoint, whose features are those of ``small_trunk.npz``."""
    with np.load(folder / "small_trunk.npz", allow_pickle=False) as file:
        state = OrderedDict((f"module.{sequential(name)}", torch.from_numpy(file[name])) for name in file.files)
    state["module.classifier.weight"] = torch.zeros(5, 16)
    content = {"state_dict": state, "rank1": np.float64(0.75), "epoch": 800}
    torch.save(content, folder / "video_person_reid.pth.tar", _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    write_bicnet(DATA)
    write_video_person_reid(DATA)
