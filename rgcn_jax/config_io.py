"""Loading, overriding and saving configs: config files, command-line overrides and ``config.json``.

The ``config.json`` of an earlier version is still read: missing fields take their defaults, renamed ones are
translated, and both are reported. On the command line an old name is an error that states the new one.
"""

import difflib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from rgcn_jax.config import Config, to_config_dict
from rgcn_jax.config_rules import conflicts
from rgcn_jax.errors import MALFORMED, InputError, as_input_error
from rgcn_jax.fields import build, leaves
from rgcn_jax.runtime.files import write_text
from rgcn_jax.runtime.user_files import read_text

CONFIG_FILE = "config.json"
"""Name of the config file in a run folder."""

RENAMED = {
    "batch.parts": "batch.micro_batches",
    "loss.pose_weight": "loss.appearance_weight",
    "model.recompute": "model.remat",
}
"""Renamed fields: old name -> new name."""

RENAMED_VALUES = {("model.appearance", "given"): "precomputed"}
"""Renamed choices: (field, old choice) -> new choice."""


def typed(config: ConfigDict | Mapping[str, Any], say: Callable[[str], object] = print, name: str = "config") -> Config:
    """Convert a ``ConfigDict``, or nested dicts of plain values, to a typed ``Config``.

    Missing fields take their defaults, and ``say`` is called with a line that lists them. ``name``: that of the config
    in messages. Raises InputError, which lists all errors: unknown fields, values out of range, invalid combinations.
    """
    plain = config.to_dict() if isinstance(config, ConfigDict) else config
    problems: list[str] = []
    missing: list[str] = []
    result = build(Config, plain, "", problems, missing)
    for (field, old), new in RENAMED_VALUES.items():
        section, leaf = field.split(".")
        if isinstance(plain.get(section), Mapping) and str(plain[section].get(leaf)).lower() == old:
            problems = [problem for problem in problems if not problem.startswith(f"{field} is ")]
            problems.append(f"{field} {old!r} is now called {new!r}")
    problems += conflicts(result) if not problems else []
    if problems:
        more = "" if len(problems) == 1 else f"{len(problems)} errors: "
        raise InputError(f"{name}: {more}{'; '.join(problems)}.")
    if result.data.name != "walkers":
        missing = [field for field in missing if not field.startswith("data.walkers.")]
    if missing:
        say(f"{name} lacks {', '.join(missing)}, which {'take' if len(missing) > 1 else 'takes'} the default")
    return result


def configs_folder() -> Path:
    """The folder of the packaged configs: ``rgcn_jax/configs``, or ``configs`` of the repository in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def packaged_config(name: str) -> ConfigDict:
    """Load a packaged config by its name, such as "mars", for use in another config file."""
    return load_config_file(name)


def load_config_file(path: str) -> ConfigDict:
    """Load the locked config that ``get_config()`` of a Python file returns.

    ``path``: a file; ``file.py:text`` calls ``get_config("text")``; a name without ``.py``, such as "mars", is a
    packaged config. Raises InputError if the file does not exist, or its ``get_config`` is missing or fails.
    """
    file = _config_path(path.split(":")[0])
    import_from_current_folder()
    loader = SourceFileLoader(file.stem, str(file))
    module = module_from_spec(spec_from_loader(file.stem, loader))  # pyright: ignore[reportArgumentType]
    try:
        loader.exec_module(module)
        config = module.get_config(*path.split(":")[1:])
    except Exception as error:  # a user's file may raise anything
        renamed = "".join(
            f" {old} is now called {new}." for old, new in RENAMED.items() if f'"{old.split(".")[1]}"' in str(error)
        )
        raise InputError(
            f"--config={path}: get_config() of this file failed ({type(error).__name__}: {error}).{renamed}"
        ) from error
    if not isinstance(config, ConfigDict):
        raise InputError(f"--config={path}: get_config() must return a ConfigDict, found {type(config).__name__}.")
    config.lock()
    return config


def _config_path(name: str) -> Path:
    """The packaged config for a bare name, else the file at that path. Raises ``InputError`` if it does not exist."""
    file, packaged = Path(name).expanduser(), configs_folder() / f"{name}.py"
    if file.name == name and os.path.isfile(packaged):
        return packaged
    if os.path.isfile(file):  # unlike Path's, False for a name that is too long
        return file
    names = sorted(p.stem for p in configs_folder().glob("*.py"))
    if file.suffix == ".py" and file.stem in names:  # the path in README, but installed from a wheel
        raise InputError(f"--config={name}: no such file; the packaged config is --config={file.stem}.")
    here = [p for p in Path("configs").glob("*.py") if p.stem != "__init__" and p.resolve().parent != configs_folder()]
    files = f"; files here: {', '.join(sorted(map(str, here)))}" if here else ""
    raise InputError(f"--config={name}: expected a file or one of the packaged configs {', '.join(names)}{files}.")


def import_from_current_folder() -> None:
    """Allow a config file to import modules from the current folder, as under ``python -m``.

    The folder is appended to ``sys.path``, so it shadows no installed module.
    """
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.append(os.getcwd())


def load_config_json(path: Path, say: Callable[[str], object] = print) -> ConfigDict:
    """Load the locked config that ``save_config`` wrote, possibly in an earlier version.

    ``say``: called with a line on missing or renamed fields. Raises InputError if there is no such file, or it is
    invalid.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist: --workdir must be the folder of a run of rgcn-jax train.")
    with as_input_error(f"{path} is not the config of a run", "start the run again", MALFORMED):
        values = json.loads(read_text(path))
    if not isinstance(values, dict):
        raise InputError(f"{path} is not the config of a run ({type(values).__name__}): start the run again.")
    values, renamed = _translated(values)
    if renamed:
        say(f"{path} was written by an earlier version: {'; '.join(renamed)}")
    return to_config_dict(typed(values, say, str(path)))


def _translated(values: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The values under their present names, and a description of each renaming."""
    renamed: list[str] = []
    values = {name: dict(value) if isinstance(value, dict) else value for name, value in values.items()}
    for old, new in RENAMED.items():
        section, leaf = old.split(".")
        if isinstance(values.get(section), dict) and leaf in values[section]:
            values[section][new.split(".")[1]] = values[section].pop(leaf)
            renamed.append(f"{old} is now {new}")
    for (field, old), new in RENAMED_VALUES.items():
        section, leaf = field.split(".")
        if isinstance(values.get(section), dict) and str(values[section].get(leaf)).lower() == old:
            values[section][leaf] = new
            renamed.append(f"{field} {old!r} is now {new!r}")
    return values, renamed


def save_config(config: Config, path: Path) -> None:
    """Write the config as JSON, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(config.to_dict(), indent=2) + "\n")


def override(config: ConfigDict, arguments: Sequence[str]) -> ConfigDict:
    """Apply ``--config.x.y=value`` arguments to a config; values are converted to the field's type.

    Raises:
      InputError: a field is unknown (similar ones are listed), a value has the wrong type, or an argument is not an
        override.
    """
    known = [name for name, _, _ in leaves(Config())]
    for argument in arguments:
        name = argument.lstrip("-").removeprefix("noconfig.").removeprefix("config.").split("=")[0]
        if argument.startswith(("--config.", "--noconfig.")) and name not in known:
            if name in RENAMED:
                raise InputError(f"the config field {name} is now called {RENAMED[name]}.")
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
            near += [k for k in known if k.split(".")[-1] == name.split(".")[-1] and k not in near]
            hint = f"did you mean {', '.join(near)}?" if near else f"expected one of {', '.join(known)}."
            raise InputError(f"unknown config field {name!r}: {hint}")
    values, line = flags.FlagValues(), ["", *arguments]
    holder = config_flags.DEFINE_config_dict("config", config, lock_config=True, flag_values=values, sys_argv=line)
    try:
        rest = values(line)[1:]
    except flags.Error as error:
        raise InputError(f"{error}; arguments have the form --config.field=value.") from error
    if rest:
        raise InputError(f"unexpected argument {rest[0]!r}: arguments have the form --config.field=value.")
    return holder.value


def changed_fields(config: Config, path: Path, allow_change: bool) -> dict[str, tuple[Any, Any]]:
    """Compare a config with the one saved at ``path``, except for fields that may change on resume.

    Returns name -> (saved value, new value); empty if no config was saved. Raises InputError if fields differ and
    ``allow_change`` is False, so the run cannot be resumed.
    """
    if not path.exists():
        return {}
    before = {name: value for name, _, value in leaves(typed(load_config_json(path)))}
    differing = {
        name: (before[name], value)
        for name, field, value in sorted(leaves(config), key=lambda leaf: leaf[0])
        if not field.metadata["may_change"] and before[name] != value
    }
    if differing and not allow_change:
        fields = "; ".join(f"{name} {then!r}, not {value!r}" for name, (then, value) in differing.items())
        raise InputError(
            f"{path.parent} holds a run with {fields}: choose another --workdir, or restore the run's config to resume "
            "it; --config.allow_config_change resumes it with the new config and records the change."
        )
    return differing
