"""What the commands share: the config and its overrides, and errors told in a sentence instead of a traceback."""

import difflib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from rgcn_jax.types import InputError

CONFIG_FILE = "config.json"
"""Name of the file in a work directory that keeps the config of the run."""


def run_command(command: Callable[[Sequence[str]], object]) -> None:
    """Calls ``command`` with the arguments; an ``InputError`` is printed without a traceback and the exit status is 2."""
    try:
        command(sys.argv[1:])
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def load_config_file(path: str) -> ConfigDict:
    """The locked config that ``get_config()`` of a Python file returns.

    Raises:
      InputError: there is no such file, or it has no ``get_config``.
    """
    file = Path(path.split(":")[0])
    if not file.is_file():
        near = sorted(str(p) for p in Path("configs").glob("*.py") if p.stem not in ("__init__", "base"))
        raise InputError(f"--config={path}: no such file" + (f"; there are {', '.join(near)}." if near else "."))
    values = flags.FlagValues()
    line = ["", f"--config={path}"]
    holder = config_flags.DEFINE_config_file("config", lock_config=True, flag_values=values, sys_argv=line)
    values(line)
    try:
        config = holder.value
        config.lock()
    except AttributeError as error:
        raise InputError(f"--config={path}: the file must define get_config() -> ConfigDict ({error}).") from error
    return config


def load_config_json(path: Path) -> ConfigDict:
    """The locked config that ``save_config`` wrote.

    Raises:
      InputError: there is none.
    """
    if not path.is_file():
        raise InputError(f"no {path}: --workdir must be the folder of a run of python -m rgcn_jax.main.")
    config = ConfigDict(_tuples(json.loads(path.read_text(encoding="utf-8"))))
    config.lock()
    return config


def save_config(config: ConfigDict, path: Path) -> None:
    """Writes the config as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config.to_dict(), indent=2) + "\n", encoding="utf-8")


def override(config: ConfigDict, arguments: Sequence[str]) -> ConfigDict:
    """The config with ``--config.x.y=value`` arguments applied; each value takes the type of the field.

    Raises:
      InputError: a field is unknown (the near ones are listed), a value does not fit its type, or an argument is no override.
    """
    known = dict(leaves(config))
    for argument in arguments:
        name = argument.lstrip("-").removeprefix("noconfig.").removeprefix("config.").split("=")[0]
        if argument.startswith(("--config.", "--noconfig.")) and name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
            near += [k for k in known if k.split(".")[-1] == name.split(".")[-1] and k not in near]
            hint = f"near ones are {', '.join(near)}" if near else f"there are {', '.join(known)}"
            raise InputError(f"unknown config field {name!r}: {hint}.")
    values, line = flags.FlagValues(), ["", *arguments]
    holder = config_flags.DEFINE_config_dict("config", config, lock_config=True, flag_values=values, sys_argv=line)
    try:
        rest = values(line)[1:]
    except flags.Error as error:
        raise InputError(f"{error}; arguments have the form --config.field=value.") from error
    if rest:
        raise InputError(f"unexpected argument {rest[0]!r}: arguments have the form --config.field=value.")
    return holder.value


def leaves(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All fields of a config with their dotted names."""
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _tuples(value: Any) -> Any:
    """JSON knows lists only; configs hold tuples."""
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    return tuple(value) if isinstance(value, list) else value
