"""The pieces of Python in README.md run as they stand, on a small data set in the place of the reader's."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from rgcn_jax.models import build
from tests import mars_folder

ROOT = Path(__file__).parents[1]
PIECES = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def test_there_are_two_of_under_twenty_lines():
    assert [len(piece.splitlines()) < 20 for piece in PIECES] == [True, True]


@pytest.mark.jit
@pytest.mark.slow
@pytest.mark.parametrize("piece", PIECES, ids=["features", "encoder"])
def test_a_piece_trains_and_evaluates(piece, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(build, "POSE_ENCODERS", build.POSE_ENCODERS | {})
    root = mars_folder.write(tmp_path / "MARS")
    for theirs, ours in (("/data/MARS", root), ("/data/mars-openpose", root / "openpose"), ("runs/mine", tmp_path)):
        assert theirs in piece
        piece = piece.replace(theirs, str(ours))
    piece = piece.replace('"mine.npz"', repr(str(tmp_path / "mine.npz"))).replace("=mine.npz", f"={tmp_path}/mine.npz")
    small = [*mars_folder.TINY, "--config.image_height=32"]
    piece = re.sub(r"main\(\[(.*)\]\)", rf"main([\1, *{small!r}])", piece, flags=re.DOTALL)
    exec(piece, {"my_features": lambda tracklet: np.full(6, len(tracklet.frames), np.float32) + np.arange(6)})
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert set(results["fused"]) == {"mAP", "rank1", "rank5", "rank10", "rank20"}
