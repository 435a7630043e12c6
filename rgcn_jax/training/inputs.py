"""Hashes of a run's inputs (data, features, weights, versions) in ``inputs.json``, compared when it is resumed.

Paths may change on resume, but not the content that they refer to: keypoints of another detector, another export of a
data set, or a checkpoint copied from another run are detected.
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
from rgcn_jax.runtime.user_files import file_hash, read_text

INPUTS_FILE = "inputs.json"

NOTED = "frames"
"""Entry whose change is only noted: preparing the same frames again may assign them to other shards."""


@dataclass(frozen=True)
class Inputs:
    """Hashes of the inputs of a run.

    ``data``: SHA-256 by name: ``tracklets`` (``provenance.fingerprint``), ``frames`` (of prepared data: the shards),
    ``keypoints``, ``features``. ``pretrained``: SHA-256 of the file, or None. ``versions``: versions of packages.
    ``ways``: hashes, from ``way``, of all configs and data that the run has used.
    """

    data: Mapping[str, str]
    pretrained: str | None
    versions: Mapping[str, str]
    ways: tuple[str, ...] = ()

    def then(self, before: "Inputs | None", way: str) -> "Inputs":
        """These inputs, merged with those of earlier starts; the first start read the pretrained file."""
        if before is None:
            return replace(self, ways=(way,))
        ways = before.ways if way in before.ways else (*before.ways, way)
        return replace(self, data={**before.data, **self.data}, pretrained=before.pretrained, ways=ways)


def way(config: Config, data: Mapping[str, str]) -> str:
    """Hash of all that determines the result: the fields that may not change on resume, and the data."""
    fixed = {name: value for name, field, value in leaves(config) if not field.metadata["may_change"]}
    return json_hash({"config": json.loads(json.dumps(fixed)), "data": dict(data)})


def pretrained_hash(path: str) -> str | None:
    """SHA-256 of the file of ``model.pretrained``; None if the field is empty or the file cannot be read."""
    try:
        return file_hash(Path(path).expanduser()) if path else None
    except OSError:
        return None


def read_inputs(workdir: Path) -> Inputs | None:
    """Read ``inputs.json``; None if it does not exist, as in runs of earlier versions. Raises InputError if it is
    invalid.
    """
    path = workdir / INPUTS_FILE
    if not path.exists():
        return None
    with as_input_error(
        f"{path} was not written by a run",
        "restore it from a copy, or remove it to resume without comparing data and versions with those of the "
        "previous steps",
        MALFORMED,
    ):
        found = json.loads(read_text(path, follow_links=False))
        ways = found["ways"]
        texts = (*found["data"].values(), *found["versions"].values(), *ways)
        if not isinstance(ways, list) or not all(isinstance(text, str) for text in texts):
            raise ValueError("unexpected fields")
        return Inputs(**found | {"ways": tuple(ways)})


def write_inputs(workdir: Path, inputs: Inputs) -> None:
    """Write ``inputs.json``. Raises ``InputError`` if it cannot be written."""
    write_text(workdir / INPUTS_FILE, json.dumps(inputs.__dict__, indent=2) + "\n")


def changed_data(workdir: Path, before: Inputs | None, now: Mapping[str, str], allow_change: bool) -> dict[str, Any]:
    """Compare the data with that of earlier starts: "data: NAME" -> abbreviated hashes before and now.

    Data known of one start only are not compared: a run may resume with prepared data after loose frames. Raises
    InputError if data other than the division into shards has changed, unless ``allow_change``.
    """
    if before is None:
        return {}
    names = [name for name in sorted(before.data.keys() & now) if before.data[name] != now[name]]
    if {*names} - {NOTED} and not allow_change:
        raise InputError(
            f"{workdir} holds a run that was trained with other data: {' and '.join(names)} have other SHA-256 hashes "
            "than in the previous steps. Restore the data, or choose another --workdir; "
            "--config.allow_config_change resumes with the new data and records the change."
        )
    return {f"data: {name}": (_short(before.data[name]), _short(now[name])) for name in names}


def changed_versions(before: Inputs | None, now: Mapping[str, str]) -> dict[str, Any]:
    """Packages whose version differs from the last start: "version of NAME" -> (before, now)."""
    if before is None:
        return {}
    names = [name for name in sorted({*before.versions, *now}) if before.versions.get(name) != now.get(name)]
    return {f"version of {name}": (before.versions.get(name), now.get(name)) for name in names}


def check_checkpoint(workdir: Path, step: int, way_of: str, known: Inputs | None, allow_change: bool) -> dict[str, Any]:
    """Detect a checkpoint that was copied from a run with another config or data: its ``way`` is not one of the run's.

    ``way_of`` is empty in checkpoints of earlier versions. Raises InputError for such a checkpoint, unless
    ``allow_change``.
    """
    if not way_of or known is None or way_of in known.ways:
        return {}
    if not allow_change:
        raise InputError(
            f"the checkpoint of step {step} in {workdir} was trained with a config or data that this run never had, so "
            "it was copied from another run. Restore the original, or choose another --workdir; "
            "--config.allow_config_change resumes from it and records the change."
        )
    return {"checkpoint of": (_short(known.ways[-1] if known.ways else None), _short(way_of))}


def _short(digest: str | None) -> str | None:
    return digest[:12] if digest else None
