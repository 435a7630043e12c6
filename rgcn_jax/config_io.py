"""Config files, command-line overrides and ``config.json``: everything between a ``ConfigDict`` and the disk."""

import difflib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from math import inf
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from rgcn_jax.errors import InputError
from rgcn_jax.runtime.workdir import write_whole

CONFIG_FILE = "config.json"
"""Name of the file in a work directory that keeps the config of the run."""

RANGES: Mapping[str, tuple[float, float]] = {
    "seed": (0, 2**31 - 1),
    "num_epochs": (0, inf),
    "num_steps": (0, inf),
    "eval_every_epochs": (0, inf),
    "checkpoint_every_steps": (0, inf),
    "log_every_steps": (0, inf),
    "frames_per_clip": (1, inf),
    "image_height": (1, inf),
    "image_width": (1, inf),
    "batch.identities": (1, inf),
    "batch.clips_per_identity": (1, inf),
    "batch.parts": (1, inf),
    "batch.max_frame_stride": (1, inf),
    "augment.crop_probability": (0, 1),
    "augment.crop_scale": (1, inf),
    "augment.flip_probability": (0, 1),
    "augment.erase_probability": (0, 1),
    "data.split": (1, 10),
    "model.pose_features": (1, inf),
    "model.graph_layers": (1, inf),
    "model.keypoint_embedding": (0, inf),
    "model.width": (1, inf),
    "model.last_stride": (1, 2),
    "loss.margin": (0, inf),
    "loss.label_smoothing": (0, 1),
    "optimizer.learning_rate": (0, inf),
    "optimizer.decay_factor": (1e-9, 1),
    "optimizer.decay_every_epochs": (0, inf),
    "optimizer.warmup_epochs": (0, inf),
    "optimizer.weight_decay": (0, inf),
    "evaluation.clips_per_batch": (1, inf),
    "evaluation.pose_weight": (0, inf),
    "parallel.num_devices": (0, inf),
}
"""Least and greatest value of the numbers in a config; infinity itself is never one."""

MAY_CHANGE = (
    "num_epochs",
    "num_steps",
    "eval_every_epochs",
    "checkpoint_every_steps",
    "log_every_steps",
    "on_nonfinite",
    "allow_config_change",
    "profile_steps",
    "compilation_cache",
    "evaluation.",
    "parallel.num_devices",
    "data.root",
    "data.keypoints",
    "data.features",
    "model.pretrained",
    "model.recompute",
)
"""Fields, and groups of fields, that may differ when a run is resumed: they do not change what is trained, or how."""


def configs_folder() -> Path:
    """The folder of the configs that come with the package: ``rgcn_jax/configs`` where it is installed, the
    repository's ``configs`` in a checkout.
    """
    package = Path(__file__).resolve().parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def packaged_config(name: str) -> ConfigDict:
    """The config that comes with the package under a name, such as "mars"; unlocked, to be changed by another one."""
    config = load_config_file(name)
    config.unlock()
    return config


def load_config_file(path: str) -> ConfigDict:
    """The locked config that ``get_config()`` of a Python file returns; of ``file.py:text`` it is
    ``get_config("text")``. A name without ``.py``, such as "mars", is a config that comes with the package.

    Raises:
      InputError: there is no such file, or it has no ``get_config`` that returns a config.
    """
    file = _config_path(path.split(":")[0])
    _import_from_current_folder()
    loader = SourceFileLoader(file.stem, str(file))
    module = module_from_spec(spec_from_loader(file.stem, loader))  # pyright: ignore[reportArgumentType]
    try:
        loader.exec_module(module)
        config = module.get_config(*path.split(":")[1:])
    except Exception as error:  # whatever is wrong in a user's file
        raise InputError(
            f"--config={path}: get_config() of this file fails ({type(error).__name__}: {error})."
        ) from error
    if not isinstance(config, ConfigDict):
        raise InputError(f"--config={path}: get_config() must return a ConfigDict, found {type(config).__name__}.")
    config.lock()
    return config


def _config_path(name: str) -> Path:
    """The file: the packaged one for a bare name, else the one at that path. Raises ``InputError`` without one."""
    file, packaged = Path(name), configs_folder() / f"{name}.py"
    if file.name == name and os.path.isfile(packaged):
        return packaged
    if os.path.isfile(file):  # unlike Path's, False for a name that is too long
        return file
    names = sorted(p.stem for p in configs_folder().glob("*.py"))
    here = [p for p in Path("configs").glob("*.py") if p.stem != "__init__" and p.resolve().parent != configs_folder()]
    files = f"; files here: {', '.join(sorted(map(str, here)))}" if here else ""
    raise InputError(f"--config={name}: no such file or packaged config; packaged are {', '.join(names)}{files}.")


def _import_from_current_folder() -> None:
    """A config file may import its neighbours: ``python -m`` looks for modules in the current folder, a console script
    does not. Last of all, so that nothing installed is shadowed.
    """
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.append(os.getcwd())


def load_config_json(path: Path) -> ConfigDict:
    """The locked config that ``save_config`` wrote.

    Raises:
      InputError: there is none, or it is not JSON.
    """
    if not path.is_file():
        raise InputError(f"no {path}: --workdir must be the folder of a run of python -m rgcn_jax.main.")
    try:
        config = ConfigDict(_tuples(json.loads(path.read_text(encoding="utf-8"))))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not the config that a run wrote ({error}): start the run again.") from error
    config.lock()
    return config


def save_config(config: ConfigDict, path: Path) -> None:
    """Writes the config as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(config.to_dict(), indent=2) + "\n")


def override(config: ConfigDict, arguments: Sequence[str]) -> ConfigDict:
    """The config with ``--config.x.y=value`` arguments applied; each value takes the type of the field.

    Raises:
      InputError: a field is unknown (the near ones are listed), a value does not fit its type, or an argument is no
        override.
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


def check_same_run(config: ConfigDict, path: Path, allow_change: bool) -> dict[str, tuple[Any, Any]]:
    """Fields in which the config at ``path`` differs, beyond ``MAY_CHANGE``: name -> before, now. None where there is
    no config yet.

    Raises:
      InputError: there are some and ``allow_change`` is off: its run cannot be resumed.
    """
    if not path.exists():
        return {}
    before, now = dict(leaves(load_config_json(path))), dict(leaves(config))
    differing = {
        name: (before.get(name), now.get(name))
        for name in sorted(before.keys() | now.keys())
        if not name.startswith(MAY_CHANGE) and before.get(name) != now.get(name)
    }
    if differing and not allow_change:
        told = "; ".join(f"{name} {then!r}, not {value!r}" for name, (then, value) in differing.items())
        raise InputError(
            f"{path.parent} holds a run with {told}: choose another --workdir for this one, or the config of the run "
            "to resume it; --config.allow_config_change goes on with the new one all the same, and notes it."
        )
    return differing


def check_numbers(config: ConfigDict) -> None:
    """Raises ``InputError`` for a number that is missing or lies outside of ``RANGES``, and for a run of no steps."""
    fields = dict(leaves(config))
    if missing := [name for name in RANGES if name not in fields]:
        raise InputError(
            f"the config has no field {', '.join(missing)}: begin get_config() with rgcn_jax.config.default_config(), "
            "which has them all."
        )
    for name, (least, greatest) in RANGES.items():
        if not least <= fields[name] <= greatest or fields[name] == inf:  # not a number is in no range
            expected = f"{least} or more" if greatest == inf else f"a number from {least} to {greatest}"
            raise InputError(f"{name} is {fields[name]}: expected {expected}.")
    stages = fields["model.stage_sizes"]
    if not stages or not all(isinstance(blocks, int) and blocks >= 1 for blocks in stages):
        raise InputError(f"model.stage_sizes is {stages}: expected whole numbers of 1 or more, such as (3, 4, 6, 3).")
    if not config.num_steps and not config.num_epochs:
        raise InputError("num_steps and num_epochs are both 0, so there is nothing to train: set one of them.")


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
