"""The last line of every command says where the result lies and what to type next, which its own parser takes."""

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest

from rgcn_jax.__main__ import COMMANDS, dispatch
from rgcn_jax.command import last_line
from rgcn_jax.data.datasets import mars
from rgcn_jax.gallery.__main__ import DOES
from tests import mars_folder
from tests.commands import next_command
from tests.experiments.test_sweep import TABLE

SAID_ELSEWHERE = {"rgcn_jax.main": "rgcn_jax.training.train", "rgcn_jax.gallery.__main__": "rgcn_jax.gallery.__main__"}
"""Modules that print the line of a command, where it is not the command's own."""
BELOW = {"add": "add_command", "search": "search_command", "serve": "serve_command"}
"""Commands of the gallery with modules of their own."""


def functions(module):
    """Of a module: the source of each function, by its name, as a tree."""
    file = importlib.import_module(module).__file__
    assert file
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def says(tree):
    return any(isinstance(n, ast.Call) and getattr(n.func, "id", "") == "last_line" for n in ast.walk(tree))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_each_command_has_one(command):
    assert any(map(says, functions(SAID_ELSEWHERE.get(command.module, command.module)).values()))


@pytest.mark.parametrize("command", DOES)
def test_each_command_of_the_gallery_has_one(command):
    main = functions(f"rgcn_jax.gallery.{BELOW[command]}")["main"] if command in BELOW else None
    assert says(main or functions("rgcn_jax.gallery.__main__")[command])


def test_a_path_with_blanks_is_one_word():
    assert next_command(last_line("x: a b", "rgcn-jax", "evaluate", "--features=a b.npz")) == [
        "evaluate",
        "--features=a b.npz",
    ]
    assert last_line("x", then="open it\x1b[2J") == "x; next: open it\\x1b[2J"


@pytest.fixture
def last(capsys):
    """Runs a command; returns what its last line says to type next."""

    def run(*arguments, status=0):
        capsys.readouterr()
        assert (dispatch([str(argument) for argument in arguments]) or 0) == status
        printed = capsys.readouterr()
        return next_command(printed.err if "--print" in arguments else printed.out)

    return run


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A small data set in the current folder."""
    monkeypatch.chdir(tmp_path)
    return mars_folder.write(Path("MARS"))


@pytest.mark.slow
def test_the_commands_of_a_data_set(root, last):
    data = ("--dataset=mars", f"--root={root}")
    assert last("walkers", "--contact-sheet=sheet.png", "--group-size=2", "--test-identities=4")[0] == "train"
    store = last("keypoints", *data, f"--keypoints={root}/openpose", "--out=kp.npz")
    assert {"prepare", "--keypoints=kp.npz"} <= set(store)
    folder = last("keypoints", *data, "--keypoints=kp.npz", "--to=openpose", "--out=poses")
    assert "--keypoints=poses" in folder
    checked = last("prepare", *data, "--check", "--keypoints=kp.npz", "--workers=1")
    assert checked == ["prepare", *data, "--keypoints=kp.npz", "--out=prepared"]
    train = ["train", "--config=mars", "--config.data.root=prepared"]
    assert last(*checked, "--workers=1") == train
    assert last(*checked, "--workers=1") == train  # prepared already
    next((root / "bbox_test").rglob("*.jpg")).write_bytes(b"")
    assert "correct what is listed" in last("prepare", *data, "--check", "--workers=1", status=1)


def test_features_of_another_program(root, last):
    split = mars.load(root)
    tested = list(dict.fromkeys((*split.query, *split.gallery)))
    np.savez("dumped.npz", features=np.random.default_rng(0).normal(size=(len(tested), 8)).astype(np.float32))
    Path("names.txt").write_text("\n".join(t.frames[0] for t in tested))
    given = ("--from=dumped.npz", "--names=names.txt", "--dataset=mars", f"--root={root}", "--out=f.npz")
    evaluate = last("features", *given)
    assert evaluate == ["evaluate", "--features=f.npz"]
    assert last(*evaluate)[::2] == ["compare", "OTHER.json"]


@pytest.mark.slow
@pytest.mark.jit
def test_the_commands_of_a_model(root, last):
    """Each step is the one that the step before it has named, where that can be typed as it is."""
    data = (f"--config.data.root={root}", f"--config.data.keypoints={root}/openpose")
    evaluate = last("train", "--config=mars_mini", *data, *mars_folder.TINY, "--config.num_steps=1")
    report = last(*evaluate)
    assert report == ["report", "runs/mars_mini", "--out=report.html"]
    assert last(*report) == "open report.html in a browser"
    model = "--model=runs/mars_mini"
    assert last("robustness", model, "--corruptions=missing_span")[0] == "report"
    assert last("compare", "runs/mars_mini", "--rows=appearance,fused") == report
    assert "with more persons" in last("calibrate", model, "--resamples=0")
    assert last(*last("calibrate", model, "--fusion")) == report
    assert last("export", model, "--out=shared").startswith("rgcn_jax.load('shared')")
    compare = last(*last("embed", model, "--out=f.npz"))
    assert compare[0] == "compare"
    assert "report RUN BASELINE" in last(*compare)
    search = last("gallery", "add", "--gallery=people", model, "--features=f.npz", f"--root={root}")
    assert last(*search) == "open found.html in a browser"
    assert last("gallery", "info", "--gallery=people", model) == search
    compact = last("gallery", "remove", "--gallery=people", "--id=1")
    info = last(*compact)
    assert "--entry=2" in last(*info)


@pytest.mark.slow
@pytest.mark.jit
def test_a_sweep(last, tmp_path):
    table = tmp_path / "tiny.py"
    table.write_text(TABLE.replace("STEPS", "1"))
    shown = last("sweep", table, f"--out={tmp_path / 'out'}")
    assert shown == ["sweep", str(table), f"--out={tmp_path / 'out'}", "--print", "--format=latex"]
    assert last(*shown)[-1] == "--format=csv"
