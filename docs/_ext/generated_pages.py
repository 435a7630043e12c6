"""Writes the generated pages of the site: API reference, help of all commands, notebooks as tutorials.

Before Sphinx looks for pages, ``reference/`` gets a page for each package below ``rgcn_jax`` and one with what every
command prints for ``--help``, and ``tutorials/`` gets a copy of each notebook, which myst-nb renders. Git ignores both
folders.
"""

import importlib
import io
import os
import pkgutil
import re
from contextlib import redirect_stdout, suppress
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

from sphinx.application import Sphinx

import rgcn_jax
from rgcn_jax.__main__ import COMMANDS, help_page

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def packages() -> list[str]:
    """Names of ``rgcn_jax`` and of all packages below it, sorted."""
    found = pkgutil.walk_packages(rgcn_jax.__path__, "rgcn_jax.")
    return sorted(["rgcn_jax", *(module.name for module in found if module.ispkg)])


def package_page(name: str) -> str:
    """Of a package, in reStructuredText: its docstring, what it exports, and its modules with their public members."""
    package = importlib.import_module(name)
    modules = sorted(m.name for m in pkgutil.iter_modules(package.__path__, f"{name}.") if not m.ispkg)
    sections = [_section(m) for m in modules if not m.endswith(".__main__")]
    head = [*_heading(name, "="), f".. automodule:: {name}", "   :ignore-module-all:", "", *_exports(package)]
    return "\n".join([*head, *sections])


def _heading(title: str, underline: str) -> list[str]:
    return [title, underline * len(title), ""]


def _section(module: str) -> str:
    return "\n".join([*_heading(module, "-"), f".. automodule:: {module}", ""])


def _exports(package: ModuleType) -> list[str]:
    """The names of ``__all__`` that a module of the package defines, with links to them."""
    objects = {name: getattr(package, name) for name in getattr(package, "__all__", ())}
    homes = {name: f"{o.__module__}.{o.__qualname__}" for name, o in objects.items() if hasattr(o, "__qualname__")}
    links = [f":py:obj:`{name} <{home}>`" for name, home in homes.items()]
    return [f"Can be imported from ``{package.__name__}`` itself: {', '.join(links)}.", ""] if links else []


def commands_page() -> str:
    """The help of all commands, and of the commands of a command, in Markdown."""
    parts = ["# Commands\n\n`rgcn-jax COMMAND` is the same as `python -m rgcn_jax COMMAND`.\n"]
    parts.append(_block(help_page("rgcn-jax")))
    for name, module, _ in COMMANDS:
        text = help_of(module, name)
        parts.append(f"## {name}\n\n{_block(text)}")
        if "COMMAND" in text.split("\n\n")[0]:
            for below in re.findall(r"^  ([a-z]+) {2,}", text, re.MULTILINE):
                parts.append(f"### {name} {below}\n\n{_block(help_of(module, name, below))}")
    return "\n".join(parts)


def help_of(module: str, *names: str) -> str:
    """What ``rgcn-jax NAME --help`` prints on a terminal of 88 columns."""
    printed = io.StringIO()
    with redirect_stdout(printed), suppress(SystemExit), patch.dict(os.environ, COLUMNS="88"):
        importlib.import_module(module).main([*names[1:], "--help"], prog=f"rgcn-jax {names[0]}")
    return printed.getvalue().strip()


def _block(text: str, language: str = "text") -> str:
    return f"````{language}\n{text}\n````\n"


def write_pages(app: Sphinx) -> None:
    """Writes all pages that are not those that lie there, and deletes those that nothing is generated for any more."""
    reference, tutorials = (Path(app.srcdir) / folder for folder in ("reference", "tutorials"))
    reference.mkdir(exist_ok=True)
    tutorials.mkdir(exist_ok=True)
    pages = {reference / "commands.md": commands_page()}
    pages |= {reference / f"{name}.rst": package_page(name) for name in packages()}
    for file in sorted(NOTEBOOKS.glob("*.ipynb")):
        pages[tutorials / file.name] = file.read_text(encoding="utf-8")
    for old in (*reference.iterdir(), *tutorials.iterdir()):
        if old not in pages:
            old.unlink()
    for file, text in pages.items():
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def tidy_signature(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """A signature without the fields that every Flax module has, and with the public name of JAX's arrays."""
    if signature is not None:
        signature = re.sub(r"(, )?parent: [^,=]*= <[^>]*>, name: str \| None = None", "", signature)
        signature = re.sub(r"<class 'jax\.numpy\.(\w+)'>", r"\1", signature)
    signature, returns = (text and text.replace("jaxlib._jax.Array", "Array") for text in (signature, returns))
    return signature, returns


def escape_bars(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Docstrings write ``|x|`` for a norm, which reStructuredText would read as a substitution."""
    literals = r"(``.*?``|::\n(?:\n| +[^\n]*\n?)+)"
    pieces = re.split(literals, "\n".join(lines), flags=re.DOTALL)  # text, literal, text, literal, ...
    pieces[::2] = [text.replace("|", r"\|") for text in pieces[::2]]
    lines[:] = "".join(pieces).split("\n")


def site_links(app: Sphinx, name: str, source: list[str]) -> None:
    """Links as GitHub follows them become those of the site: the notebooks are tutorials here, and a link whose text is
    the name of a file, as in ``[data.md](data.md#keypoints)``, shows the title of the page or section.
    """
    text = source[0].replace("](../notebooks/", "](tutorials/")
    source[0] = re.sub(r"\[([\w-]+\.md)\]\((?=\1[#)])", "[](", text)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("builder-inited", write_pages)
    app.connect("source-read", site_links)
    app.connect("autodoc-process-docstring", escape_bars)
    app.connect("autodoc-process-signature", tidy_signature)
    return {"version": rgcn_jax.__version__, "parallel_read_safe": True, "parallel_write_safe": True}
