"""Calibration files of a model: thresholds (``calibration.json``) and fusion by quality (``fusion.json``).

``rgcn-jax calibrate`` writes them; ``Embedder.same_person`` and searches read them. A threshold is valid only for the
weights, distance, pose weight and clips that it was measured with; reading it for others raises an error.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rgcn_jax.config import EvaluationConfig
from rgcn_jax.errors import MALFORMED, InputError, as_input_error
from rgcn_jax.evaluation.calibrated import Fusion
from rgcn_jax.runtime.files import write_text
from rgcn_jax.runtime.user_files import read_text

CALIBRATION_FILE = "calibration.json"
FORMAT, VERSION = "rgcn_jax calibration", 1
FUSION_FILE, FUSION_FORMAT = "fusion.json", "rgcn_jax fusion"


@dataclass(frozen=True)
class Calibration:
    """Verification results of a model on a data set.

    ``rows``: row ("appearance", "pose", "fused") -> ``Verification.to_json()``. ``settings``: distance, pose weight and
    clips. ``path``: the file.
    """

    path: Path
    model: str
    data_set: str
    settings: Mapping[str, Any]
    rows: Mapping[str, Any]

    def threshold(self, model: str, evaluation: EvaluationConfig, row: str, fpr: float) -> float:
        """The distance below which two tracklets are accepted as the same person at a calibrated false positive rate.

        ``model``: hash of the weights whose features are compared. ``row``: "appearance", "pose" or "fused".

        Raises:
          InputError: the calibration is of other weights or settings, or has no threshold at this rate.
        """
        redo = "rerun rgcn-jax calibrate."
        if model != self.model:
            raise InputError(f"{self.path} is the calibration of other weights: {redo}")
        if (now := settings_of(evaluation)) != self.settings:
            raise InputError(f"{self.path} was measured with {dict(self.settings)}, but the model has {now}: {redo}")
        if row not in self.rows:
            raise InputError(f"{self.path} has no row {row!r}: expected one of {', '.join(self.rows)}.")
        points = self.rows[row]["tpr_at_fpr"]
        found = {float(name): point for name, point in points.items() if point is not None}
        if fpr not in found:
            rates = ", ".join(f"{rate:g}" for rate in sorted(found)) or "no rate"
            raise InputError(
                f"{self.path} has no threshold at a false positive rate of {fpr:g}, only at {rates}: choose one of "
                "these, or calibrate on a data set with more impostor pairs."
            )
        return float(found[fpr]["threshold"])


def settings_of(evaluation: EvaluationConfig) -> dict[str, Any]:
    """The settings that a threshold depends on."""
    return {name: getattr(evaluation, name) for name in ("distance", "pose_weight", "clips")}


def write_calibration(calibration: Calibration) -> None:
    """Write ``calibration.path`` atomically. Raises InputError where it cannot be written."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "model": calibration.model,
        "data_set": calibration.data_set,
        "settings": dict(calibration.settings),
        "rows": dict(calibration.rows),
    }
    write_text(calibration.path, json.dumps(content, indent=2) + "\n")


def read_calibration(folder: Path) -> Calibration | None:
    """Read the calibration in a model's folder; None if there is none. Raises InputError if the file is not one."""
    path = folder / CALIBRATION_FILE
    if not path.exists():
        return None
    with as_input_error(
        f"{path} is not a calibration of this program", "remove it and rerun rgcn-jax calibrate", MALFORMED
    ):
        content = json.loads(read_text(path))
        if content["format"] != FORMAT or content["version"] != VERSION:
            raise ValueError(f"format {content['format']!r}, version {content['version']!r}")
        fields = (str(content["model"]), str(content["data_set"]), dict(content["settings"]), dict(content["rows"]))
        for row in fields[3].values():
            for rate, point in row["tpr_at_fpr"].items():
                interval = (point or {}).get("interval") or (0, 0)
                numbers = [*interval, *(() if point is None else (point["threshold"], point["tpr"]))]
                if not 0 <= float(rate) <= 1 or len(interval) != 2 or not {*map(type, numbers)} <= {int, float}:
                    raise ValueError(f"invalid operating point {rate!r}")
    return Calibration(path, *fields)


def write_fusion(path: Path, fusion: Fusion, model: str, data_set: str, clips: str) -> None:
    """Write the fusion of the weights with hash ``model`` atomically. Raises InputError where it cannot be written."""
    learned = {"model": model, "data_set": data_set, "clips": clips, "fusion": fusion.to_json()}
    write_text(path, json.dumps({"format": FUSION_FORMAT, "version": VERSION, **learned}, indent=2) + "\n")


def read_fusion(folder: Path, model: str, clips: str) -> Fusion | None:
    """Read the fusion in a model's folder; None if there is none.

    ``model``: hash of the model's weights. ``clips``: its ``evaluation.clips``. Raises InputError if the file is not a
    fusion, or was learned with other weights or clips.
    """
    path = folder / FUSION_FILE
    if not path.exists():
        return None
    with as_input_error(
        f"{path} is not a fusion of this program", "remove it and rerun rgcn-jax calibrate --fusion", MALFORMED
    ):
        content = json.loads(read_text(path))
        if content["format"] != FUSION_FORMAT or content["version"] != VERSION:
            raise ValueError(f"format {content['format']!r}, version {content['version']!r}")
        learned, fusion = (content["model"], content["clips"]), Fusion.from_json(content["fusion"])
    if learned != (model, clips):
        raise InputError(
            f"{path} was learned with other weights, or with evaluation.clips={learned[1]!r} instead of {clips!r}: "
            "rerun rgcn-jax calibrate --fusion."
        )
    return fusion
