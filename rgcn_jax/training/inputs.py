"""Hashes of a run's inputs (data, features, weights, versions) in ``inputs.json``, compared when it is resumed.

A path in the config may stay the same while what lies there changes: keypoints of another detector, a data set of
another export, a checkpoint copied in by hand. Only paths may change freely; what they lead to may not.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rgcn_jax.config import Config
from rgcn_jax.errors import MALFORMED, InputError, as_input_error
from rgcn_jax.fields import leaves
from rgcn_jax.runtime.checksum import json_hash
from rgcn_jax.runtime.files import write_text
from rgcn_jax.runtime.handed_over import file_hash, read_text

INPUTS_FILE = "inputs.json"

NOTED = "frames"
"""Prepared again, the same frames may lie in other shards: that is no error."""


@dataclass(frozen=True)
class Inputs:
    """What a run was given.

    ``data``: SHA-256 by name: ``tracklets`` (``provenance.fingerprint``), ``frames`` (of prepared data: the shards),
    ``keypoints``, ``features``. ``pretrained``: SHA-256 of the file, None without one. ``versions``: of packages.
    ``ways``: each config and data that the run has had so far, as ``way`` hashes them.
    """

    data: Mapping[str, str]
    pretrained: str | None
    versions: Mapping[str, str]
    ways: tuple[str, ...] = ()

    def then(self, before: "Inputs | None", way: str) -> "Inputs":
        """These, after those of the starts before; the pretrained file was read by the first one."""
        if before is None:
            return replace(self, ways=(way,))
        ways = before.ways if way in before.ways else (*before.ways, way)
        return replace(self, data={**before.data, **self.data}, pretrained=before.pretrained, ways=ways)


def way(config: Config, data: Mapping[str, str]) -> str:
    """A hash of all that decides what is trained: the fields that may not change on resume, and the data."""
    fixed = {name: value for name, field, value in leaves(config) if not field.metadata["may_change"]}
    return json_hash({"config": json.loads(json.dumps(fixed)), "data": dict(data)})


def pretrained_hash(path: str) -> str | None:
    """SHA-256 of the file of ``model.pretrained``; None where the field is empty, or the file cannot be read."""
    try:
        return file_hash(Path(path).expanduser()) if path else None
    except OSError:
        return None


def read_inputs(workdir: Path) -> Inputs | None:
    """What ``write_inputs`` wrote; None where there is none, as in runs of earlier versions.

    Raises:
      InputError: it is something else.
    """
    path = workdir / INPUTS_FILE
    if not path.exists():
        return None
    with as_input_error(
        f"{path} is not what a run wrote",
        "put it back from a copy, or remove it to resume without comparing data and versions with those of the "
        "steps before",
        MALFORMED,
    ):
        found = json.loads(read_text(path, follow_links=False))
        ways = found["ways"]
        texts = (*found["data"].values(), *found["versions"].values(), *ways)
        if not isinstance(ways, list) or not all(isinstance(text, str) for text in texts):
            raise ValueError("it has other fields")
        return Inputs(**found | {"ways": tuple(ways)})


def write_inputs(workdir: Path, inputs: Inputs) -> None:
    """Writes ``inputs.json``. Raises ``InputError`` where that cannot be done."""
    write_text(workdir / INPUTS_FILE, json.dumps(inputs.__dict__, indent=2) + "\n")


def changed_data(workdir: Path, before: Inputs | None, now: Mapping[str, str], allow_change: bool) -> dict[str, Any]:
    """What of the data is something else than before: "data: NAME" -> the hashes' beginnings, before and now. What is
    known of one start only is not compared: a run may resume with prepared data where it began with loose frames.

    Raises:
      InputError: something but the division of prepared data into shards is, and ``allow_change`` is off.
    """
    if before is None:
        return {}
    names = [name for name in sorted(before.data.keys() & now) if before.data[name] != now[name]]
    if {*names} - {NOTED} and not allow_change:
        raise InputError(
            f"{workdir} holds a run that was trained with other data: its {' and '.join(names)} are not those of the "
            "steps before, by their SHA-256. Give it the same ones, or choose another --workdir; "
            "--config.allow_config_change resumes with the new ones all the same, and records that."
        )
    return {f"data: {name}": (_short(before.data[name]), _short(now[name])) for name in names}


def changed_versions(before: Inputs | None, now: Mapping[str, str]) -> dict[str, Any]:
    """Packages of another version than at the last start: "version of NAME" -> before, now."""
    if before is None:
        return {}
    names = [name for name in sorted({*before.versions, *now}) if before.versions.get(name) != now.get(name)]
    return {f"version of {name}": (before.versions.get(name), now.get(name)) for name in names}


def check_checkpoint(workdir: Path, step: int, way_of: str, known: Inputs | None, allow_change: bool) -> dict[str, Any]:
    """Notes a checkpoint that was not trained in this work directory: a copy from a run of another config or data.

    Args:
      workdir: of the run.
      step: of the checkpoint.
      way_of: its ``way``; empty in checkpoints of earlier versions.
      known: of the run.
      allow_change: whether to resume from it all the same.

    Raises:
      InputError: it is one, and ``allow_change`` is off.
    """
    if not way_of or known is None or way_of in known.ways:
        return {}
    if not allow_change:
        raise InputError(
            f"the checkpoint of step {step} in {workdir} was trained with another config or other data than this run "
            "ever had: it was put there from another run. Put the right one back, or choose another --workdir; "
            "--config.allow_config_change resumes from it all the same, and records that."
        )
    return {"checkpoint of": (_short(known.ways[-1] if known.ways else None), _short(way_of))}


def _short(digest: str | None) -> str | None:
    return digest[:12] if digest else None
