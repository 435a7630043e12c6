"""The Python of docs/own-features.md and docs/own-encoder.md runs as it stands, on a small data set in the place of the
reader's.
"""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from rgcn_jax import main
from tests import mars_folder
from tests.commands import module

ROOT = Path(__file__).parents[1]


def only(page, language):
    """The one block of a page in a language."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    (block,) = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return block


FEATURES, ENCODER = only("own-features.md", "python"), only("own-encoder.md", "python")
COMMAND = only("own-encoder.md", "bash")
SMALL = [*mars_folder.TINY, "--config.image_height=32"]


def test_they_have_under_twenty_lines():
    assert all(len(piece.splitlines()) < 20 for piece in (FEATURES, ENCODER))


@pytest.fixture
def ours(tmp_path, monkeypatch):
    """Puts a small data set and a work directory in the place of the reader's."""
    monkeypatch.chdir(ROOT)
    root = mars_folder.write(tmp_path / "MARS")

    def replaced(piece):
        for theirs, path in (("/data/MARS", root), ("/data/mars-openpose", root / "openpose"), ("runs/mine", tmp_path)):
            assert theirs in piece
            piece = piece.replace(theirs, str(path))
        return piece

    return replaced


def check_results(workdir):
    results = json.loads((workdir / "results.json").read_text(encoding="utf-8"))
    assert set(results["fused"]) == {"mAP", "rank1", "rank5", "rank10", "rank20"}


@pytest.mark.jit
@pytest.mark.slow
def test_features_of_ones_own_train_and_evaluate(ours, tmp_path):
    file = str(tmp_path / "mine.npz")
    piece = ours(FEATURES).replace('"mine.npz"', repr(file)).replace("=mine.npz", f"={file}")
    piece = re.sub(r"main\(\[(.*)\]\)", rf"main([\1, *{SMALL!r}])", piece, flags=re.DOTALL)
    exec(piece, {"my_features": lambda tracklet: np.full(6, len(tracklet.frames), np.float32) + np.arange(6)})
    check_results(tmp_path)


@pytest.mark.jit
@pytest.mark.slow
def test_an_encoder_of_ones_own_trains_and_evaluates(ours, tmp_path, monkeypatch):
    (tmp_path / "my_encoder.py").write_text(ENCODER)
    monkeypatch.syspath_prepend(tmp_path)
    training, evaluation = ours(COMMAND).replace("\\\n", "").splitlines()
    python, dash_m, name, *arguments = shlex.split(training)
    assert (python, dash_m, name) == (".venv/bin/python", "-m", "rgcn_jax.main")
    main.main([*arguments, *SMALL])
    check_results(tmp_path)
    python, dash_m, name, *arguments = shlex.split(evaluation)
    assert (python, dash_m, name) == (".venv/bin/python", "-m", "rgcn_jax.evaluate")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    evaluated = module(name, *arguments)  # a second process
    assert evaluated.returncode == 0, evaluated.stderr
    (results,) = (tmp_path / "evaluations").glob("*.json")
    trained = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert json.loads(results.read_text(encoding="utf-8"))["protocols"] == trained["protocols"]
