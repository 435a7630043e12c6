"""README and the pages of docs/: links and anchors resolve, prose wraps, commands exist with their flags and fields."""

import importlib
import importlib.util
import io
import json
import re
import shlex
import tomllib
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from rgcn_jax.__main__ import COMMANDS
from rgcn_jax.config_help import rows

ROOT = Path(__file__).parents[1]
OUTSIDE = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
PAGES = [ROOT / name for name in OUTSIDE] + sorted((ROOT / "docs").glob("*.md"))
WIDTH = 100
LINK = re.compile(r"\[[^\]]*\]\(([^()\s]+(?:\([^()\s]*\)[^()\s]*)*)\)")
BARE = re.compile(r"https?://[^\s<>`]+")


def of_pages(test):
    return pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))(test)


def lines(page):
    """Of a page: number, text and kind of each line, which is "code", "table" or "prose"."""
    fence, in_item, blank_before, kind = None, False, True, "prose"
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        stripped = line.lstrip()
        indent = len(line) - len(stripped)
        opening = re.match(r"(`{3,})", stripped)
        if fence is None and opening:
            fence, kind = opening[1], "code"
        elif fence is not None:
            fence, kind = (None if stripped == fence else fence), "code"
        elif indent >= (6 if in_item else 4) and (blank_before or kind == "code"):
            kind = "code"
        else:
            kind = "table" if stripped.startswith("|") else "prose"
            if re.match(r"([-*]|\d+\.) ", stripped):
                in_item = True
            elif stripped and not indent:
                in_item = False
        blank_before = not stripped
        yield number, line, kind


def prose(page):
    """The text of a page without its code: blocks are left out, spans are emptied."""
    text = "\n".join(line for _, line, kind in lines(page) if kind != "code")
    return re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text, flags=re.DOTALL)


def calls(page, in_text=True):
    """Calls of the project in code blocks, and in spans of the text: module, and arguments as a shell splits them."""
    kinds = [(line, kind) for _, line, kind in lines(page)]
    code = "\n".join(line for line, kind in kinds if kind == "code").replace("\\\n", " ").splitlines()
    text = "\n".join(line for line, kind in kinds if kind != "code")
    spans = [" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]
    modules = {command.name: command.module for command in COMMANDS}
    for piece in [*code, *(spans if in_text else ())]:
        for call in re.split(r"&&|[|;>]", piece):
            found = re.search(r"(?:rgcn-jax|-m rgcn_jax) ([a-z]+)(?= |$)|-m ((?:rgcn_jax|benchmarks)\.[\w.]+)", call)
            if found:
                yield modules[found[1]] if found[1] else found[2], shlex.split(call[found.end() :], comments=True)


@cache
def flags(module, *below):
    """That the help of a command lists, or that of a command below it, such as ``gallery add``."""
    printed = io.StringIO()
    with redirect_stdout(printed), pytest.raises(SystemExit):
        importlib.import_module(module).main([*below, "--help"], prog="rgcn-jax")
    return set(re.findall(r"--[a-z][a-z-]*", printed.getvalue()))


def anchors(page):
    """Of all headings of a page, as GitHub and myst-parser make them."""
    found = []
    for _, line, kind in lines(page):
        if kind == "prose" and (heading := re.match(r"#{1,6} +(.*)", line)):
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1])
            slug = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
            found.append(slug if slug not in found else f"{slug}-{found.count(slug)}")
    return found


@of_pages
def test_links_between_pages_resolve(page):
    for target in LINK.findall(prose(page)):
        if target.startswith(("http:", "https:")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target} does not exist"
        assert file.is_relative_to(ROOT), f"{page.name}: {target} leads out of the repository"
        if page.parent.name == "docs" and file.suffix == ".md":
            assert file.parent == page.parent, f"{page.name}: {target} is not a page of the site"
        if anchor:
            assert anchor in anchors(file), f"{page.name}: {target}: no such heading"


@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.name)
def test_links_of_notebooks_resolve(notebook):
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    targets = [target for text in texts for target in LINK.findall(text)]
    for target in targets:
        if not target.startswith("https://"):
            assert target in {path.name for path in notebook.parent.glob("*.ipynb")}, f"{notebook.name}: {target}"


@of_pages
def test_addresses_have_a_proper_form(page):
    text = prose(page)
    for address in [*BARE.findall(text), *(target for target in LINK.findall(text) if ":" in target)]:
        parts = urlsplit(address.rstrip(").,;:"))
        assert parts.scheme in ("http", "https"), address
        assert re.fullmatch(r"([a-z0-9-]+\.)+[a-z]{2,}", parts.netloc), address
        assert "//" not in parts.path, address


@of_pages
def test_prose_wraps(page):
    """A line of more than 100 columns is one word, such as an address, that no blank could have broken before."""
    for number, line, kind in lines(page):
        if kind == "prose" and len(line) > WIDTH:
            words = re.sub(r"^\s*([-*>]|\d+\.)?\s*", "", line).split()
            assert len(words) == 1, f"{page.name}:{number}: {len(line)} columns"


def test_every_page_is_in_the_table_of_contents():
    """A page that no toctree names would make ``sphinx-build -W`` fail, which takes longer to notice."""
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    trees = re.findall(r"```{toctree}(.*?)```", index, re.DOTALL)
    named = re.findall(r"^(?:.*<)?([\w./-]+)>?$", "\n".join(trees), re.MULTILINE)
    for page in (ROOT / "docs").glob("*.md"):
        assert named.count(page.stem) == (page.stem != "index"), f"docs/index.md must name {page.stem} once"
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"tutorials/{notebook.stem}" in named, f"docs/index.md must name tutorials/{notebook.stem}"


@of_pages
def test_commands_exist_with_their_flags_and_fields(page):
    fields = {f"--config.{name}" for name, *_ in rows()}
    modules = {command.module.removesuffix(".__main__"): command.module for command in COMMANDS}
    for module, arguments in calls(page):
        names = [argument.partition("=")[0] for argument in arguments if argument.startswith("--")]
        if module not in modules and module not in modules.values():
            assert importlib.util.find_spec(module), f"{page.name}: there is no module {module}"
            continue
        below = arguments[:1] if arguments and arguments[0].isalpha() else []
        known = flags(modules.get(module, module), *below) | fields
        assert set(names) <= known, f"{page.name}: {module} {' '.join(arguments)}: unknown {set(names) - known}"


def test_every_extra_is_explained():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    install = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    table = "\n".join(line.split("|")[1] for line in install.splitlines() if line.startswith("|"))
    assert set(re.findall(r"`([a-z0-9]+)`", table)) == set(extras)
