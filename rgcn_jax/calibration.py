"""Calibration: the distance thresholds of a model at fixed false positive rates, kept as ``calibration.json``, and its
fusion by quality (``evaluation.calibrated``), kept as ``fusion.json``.

``rgcn-jax calibrate`` measures and writes it; ``Embedder.same_person`` and searches read it. A threshold belongs to the
weights, the distance, its pose weight and the clips that it was measured with, and is refused for others.
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
from rgcn_jax.runtime.handed_over import read_text

CALIBRATION_FILE = "calibration.json"
FORMAT, VERSION = "rgcn_jax calibration", 1
FUSION_FILE, FUSION_FORMAT = "fusion.json", "rgcn_jax fusion"


@dataclass(frozen=True)
class Calibration:
    """Verification results of a model on a data set.

    ``rows``: row ("appearance", "pose", "fused") -> ``Verification.to_json()``. ``settings``: distance, pose weight and
    clips. ``path``: of the file.
    """

    path: Path
    model: str
    data_set: str
    settings: Mapping[str, Any]
    rows: Mapping[str, Any]

    def threshold(self, model: str, evaluation: EvaluationConfig, row: str, fpr: float) -> float:
        """The distance below which two tracklets are accepted as the same person.

        Args:
          model: hash of the weights whose features are compared.
          evaluation: the settings of the comparison.
          row: "appearance", "pose" or "fused".
          fpr: false positive rate, one of those that were calibrated.

        Raises:
          InputError: it was calibrated for another model or other settings, or not at this rate.
        """
        redo = "run rgcn-jax calibrate again."
        if model != self.model:
            raise InputError(f"{self.path} is the calibration of other weights: {redo}")
        if (now := settings_of(evaluation)) != self.settings:
            raise InputError(f"{self.path} was measured with {dict(self.settings)}, the model now has {now}: {redo}")
        if row not in self.rows:
            raise InputError(f"{self.path} has no row {row!r}: expected one of {', '.join(self.rows)}.")
        points = self.rows[row]["tpr_at_fpr"]
        found = {float(name): point for name, point in points.items() if point is not None}
        if fpr not in found:
            rates = ", ".join(f"{rate:g}" for rate in sorted(found)) or "no rate"
            raise InputError(
                f"{self.path} has no threshold at a false positive rate of {fpr:g}, but at {rates}: choose one of "
                "these, or calibrate on a data set with more pairs of different persons."
            )
        return float(found[fpr]["threshold"])


def settings_of(evaluation: EvaluationConfig) -> dict[str, Any]:
    """The settings that a threshold depends on."""
    return {
        "distance": evaluation.distance,
        "pose_weight": evaluation.pose_weight,
        "clips": evaluation.clips,
    }


def write_calibration(calibration: Calibration) -> None:
    """Writes ``calibration.path``, atomically. Raises InputError."""
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
    """The calibration in the folder of a model; None where there is none.

    Raises:
      InputError: the file is no calibration.
    """
    path = folder / CALIBRATION_FILE
    if not path.exists():
        return None
    with as_input_error(
        f"{path} is not a calibration of this program", "remove it and run rgcn-jax calibrate again", MALFORMED
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
                    raise ValueError(f"the point {rate!r} is none")
    return Calibration(path, *fields)


def write_fusion(path: Path, fusion: Fusion, model: str, data_set: str, clips: str) -> None:
    """Writes the fusion of the weights with the hash ``model``, atomically. Raises InputError."""
    learned = {"model": model, "data_set": data_set, "clips": clips, "fusion": fusion.to_json()}
    write_text(path, json.dumps({"format": FUSION_FORMAT, "version": VERSION, **learned}, indent=2) + "\n")


def read_fusion(folder: Path, model: str, clips: str) -> Fusion | None:
    """The fusion in the folder of a model; None where there is none.

    Args:
      folder: of the model.
      model: hash of its weights.
      clips: how its tracklets are cut.

    Raises:
      InputError: the file is none, or was learned with other weights or clips.
    """
    path = folder / FUSION_FILE
    if not path.exists():
        return None
    with as_input_error(
        f"{path} is not a fusion of this program", "remove it and run rgcn-jax calibrate --fusion again", MALFORMED
    ):
        content = json.loads(read_text(path))
        if content["format"] != FUSION_FORMAT or content["version"] != VERSION:
            raise ValueError(f"format {content['format']!r}, version {content['version']!r}")
        learned, fusion = (content["model"], content["clips"]), Fusion.from_json(content["fusion"])
    if learned != (model, clips):
        raise InputError(
            f"{path} was learned with other weights, or with evaluation.clips={learned[1]!r} instead of {clips!r}: run "
            "rgcn-jax calibrate --fusion again."
        )
    return fusion
