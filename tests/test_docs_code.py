"""Code in README and docs/: Python runs, commands are parsed by the commands' own parsers, or a mark says why not.

The mark is a comment on the line before a block: ``<!-- not run: needs MARS -->``. Its Python is compiled, its commands
are parsed all the same; other programs are not looked at.
"""

import importlib
import re
import textwrap
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from rgcn_jax.__main__ import COMMANDS
from rgcn_jax.config import default_config
from rgcn_jax.config_io import load_config_file, override, typed
from tests.commands import parsed
from tests.export import saved
from tests.test_docs import PAGES, calls

ROOT = Path(__file__).parents[1]
MARK = re.compile(r"<!-- not run: (.+) -->")
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
RUN_BY = {
    "docs/own-features.md": "tests/test_readme.py",
    "docs/own-encoder.md": "tests/test_readme.py",
    "docs/export.md": "tests/export/test_export.py",
    "docs/input-pipeline.md": "tests/data/prepared/test_tfds_builders.py",
}
"""Pages whose Python other tests run, on data and models of their own."""
PROGRAM = re.compile(r"(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?([\w./-]+)")
OURS = ("rgcn-jax", "python", "python3", "pip", "launch/", "benchmarks/")


class Block(NamedTuple):
    page: str
    number: int
    language: str
    code: str
    why_not: str


def blocks(page):
    """The fenced blocks of a page, with the reason on the line before why one is not run."""
    text, before = page.read_text(encoding="utf-8").splitlines(), ""
    found, fence, number, language = [], "", 0, ""
    for n, line in enumerate(text, 1):
        if fence and line.strip() == fence:
            mark = MARK.fullmatch(before.strip())
            code = textwrap.dedent("\n".join(text[number : n - 1]))
            found.append(Block(str(page.relative_to(ROOT)), number, language, code, mark[1] if mark else ""))
            fence = ""
        elif not fence and (opening := re.match(r" *(`{3,}|~{3,})(.*)", line)):
            fence, language, number, before = opening[1], opening[2].strip(), n, text[n - 2]
    assert not fence, f"{page.name}: a block is not closed"
    return found


BLOCKS = [block for page in PAGES for block in blocks(page)]
PYTHON = [block for block in BLOCKS if block.language == "python"]
SHELL = [block for block in BLOCKS if block.language in ("bash", "sh", "shell", "console")]


def named(block):
    return f"{block.page}:{block.number}"


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A folder with a model under runs/mars; and the names that pages use without making them."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "runs").mkdir()
    saved.write(folder / "runs" / "mars")
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (5, 32, 16, 3), dtype=np.uint8)
    keypoints = rng.uniform(0.1, 1, (5, 14, 3)).astype(np.float32)
    names = {f"frames{of}": frames for of in ("", "_a", "_b", "_c")} | {"other_frames": frames}
    names |= {f"keypoints{of}": keypoints for of in ("", "_a", "_b", "_c")} | {"other_keypoints": keypoints}
    names["pixels_b"] = rng.uniform(1, 100, (5, 17, 3)).astype(np.float32)
    return folder, names | {"video": keypoints}


@pytest.mark.jit
@pytest.mark.parametrize("page", dict.fromkeys(block.page for block in PYTHON))
def test_python_runs(page, reader, monkeypatch):
    """The blocks of a page one after another: a later one may use what an earlier one made."""
    folder, names = reader
    monkeypatch.chdir(folder)
    space: dict[str, Any] = dict(names, __name__="page")
    for block in PYTHON:
        if block.page == page:
            code = compile(block.code, named(block), "exec")
            if not block.why_not and page not in RUN_BY:
                exec(code, space)
    if "get_table" in space:
        assert space["get_table"]().rows


@pytest.mark.parametrize(("page", "test"), RUN_BY.items())
def test_the_others_are_run_where_it_says(page, test):
    assert Path(page).name in (ROOT / test).read_text(encoding="utf-8")


MENTIONED = re.compile(r"--help|\.\.\.|(^| )\$|=[A-Z]\b")
MODULES = {command.module.removesuffix(".__main__"): command.module for command in COMMANDS}


@pytest.mark.parametrize("page", [p for p in PAGES if p.name != "CHANGELOG.md"], ids=lambda p: p.name)
def test_commands_are_parsed_by_their_own_parsers(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    for module, arguments in calls(page, in_text=False):
        if not any(a.startswith("-") for a in arguments) or MENTIONED.search(" ".join(arguments)):
            continue  # a mention, or a pattern with names to be replaced
        module = MODULES.get(module, module)
        if module not in MODULES.values():
            continue  # a benchmark
        try:
            flags, fields = parsed(importlib.import_module(module).main, arguments)
        except Exception as error:
            raise AssertionError(f"{page.name}: {module} {' '.join(arguments)}") from error
        fields = [field for field in fields if field.startswith("--config.") and "$" not in field]
        if getattr(flags, "config", None) and Path(flags.config).suffix in ("", ".py"):
            typed(override(load_config_file(flags.config), fields), name=flags.config)
        else:
            override(default_config(), fields)


@pytest.mark.parametrize("block", SHELL, ids=named)
def test_other_commands_are_known_or_marked(block):
    """pip installs extras that exist; other programs than ours stand in marked blocks only."""
    for line in block.code.replace("\\\n", " ").splitlines():
        between = r" && | [|] |; " if line.startswith("for ") else r" && | [|] "
        for call in re.split(between, line.partition(" #")[0]):
            call = call.strip().removeprefix("do ")
            if not call or call == "done" or re.match(r"for \w+ in ", call):
                continue
            if extras := re.search(r"pip install .*(?:\.|rgcn_jax)\[([\w,]+)\]", call):
                assert set(extras[1].split(",")) <= set(EXTRAS), call
            program = PROGRAM.match(call)
            ours = bool(program) and (program[1].startswith(OURS) or Path(program[1]).name in OURS)
            assert ours or block.why_not, f"{named(block)}: {call}"


def test_marks_stand_before_blocks():
    for page in PAGES:
        marks = len(re.findall(r"^<!-- not run:", page.read_text(encoding="utf-8"), re.MULTILINE))
        assert marks == sum(bool(block.why_not) for block in blocks(page)), page.name
