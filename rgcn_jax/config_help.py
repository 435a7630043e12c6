"""The table of all config fields, generated for the docs and for ``rgcn-jax train --help``.

``python -m rgcn_jax.config_help > docs/config.md`` writes the page of the docs.
"""

import textwrap
from collections.abc import Iterator
from functools import reduce
from typing import get_type_hints

from rgcn_jax.config import Config
from rgcn_jax.fields import expected, leaves

HEAD = """# Config fields

Every field can be set on the command line: `rgcn-jax train --config=mars --config.model.pose=LGCN`.
A config file starts from `rgcn_jax.config.default_config()` and overrides fields. Choices are not
case-sensitive. A run can be resumed with other values of the fields marked in the last column; to
change any other field, use another `--workdir` or `--config.allow_config_change`.

This page is generated: `python -m rgcn_jax.config_help > docs/config.md`.

| field | default | meaning | values | may change on resume |
|---|---|---|---|---|
"""


def rows() -> Iterator[tuple[str, str, str, str, bool]]:
    """Yield (dotted name, default, meaning, allowed values, may change on resume) of every field."""
    config = Config()
    for name, field, value in leaves(config):
        section = reduce(getattr, name.split(".")[:-1], config)
        values = expected(field, get_type_hints(type(section))[field.name])
        shown = '""' if value == "" else str(value).lower() if isinstance(value, bool) else str(value)
        yield name, shown, field.metadata["help"], values, field.metadata["may_change"]


def page() -> str:
    """The page of the docs, in Markdown."""
    lines = (
        f"| `{name}` | `{value}` | {meaning} | {values} | {'yes' if may_change else ''} |"
        for name, value, meaning, values, may_change in rows()
    )
    return HEAD + "\n".join(lines) + "\n"


def listing() -> str:
    """All fields for a terminal: name and default, followed by meaning and allowed values."""
    return "\n".join(
        f"  --config.{name}={value}\n"
        + textwrap.fill(f"{meaning} ({values})", 96, initial_indent=" " * 6, subsequent_indent=" " * 6)
        for name, value, meaning, values, _ in rows()
    )


if __name__ == "__main__":
    print(page(), end="")
