"""Writing of an export: model folder, formats, validation and model card, atomically."""

import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from rgcn_jax.calibration import CALIBRATION_FILE, settings_of, write_calibration
from rgcn_jax.config import Config
from rgcn_jax.embedder import Embedder
from rgcn_jax.errors import InputError
from rgcn_jax.export.check import BATCH_SIZES, TOLERANCE, TRACKLETS, check, reference
from rgcn_jax.export.formats import FORMATS, PLATFORMS
from rgcn_jax.export.function import BATCH, exported_function
from rgcn_jax.export.model_card import CARD_FILE, model_card, results_of
from rgcn_jax.runtime.files import atomic_folder, find_unfinished, writing
from rgcn_jax.runtime.provenance import versions
from rgcn_jax.saved_model import SavedModel, save_model

DESCRIPTION_FILE = "export.json"


def export_model(
    saved: SavedModel,
    out: Path,
    formats: Collection[str] = (),
    licence: str = "",
) -> None:
    """Write a model to a new folder, for ``rgcn_jax.load`` and other runtimes.

    Args:
      saved: the model.
      out: the folder, which must not exist.
      formats: names in ``FORMATS``, in addition to the folder itself.
      licence: licence of the weights, for the card.

    Raises:
      InputError: ``out`` exists or cannot be written, a format cannot represent the model, or its runtime's results
        differ.
    """
    exact = saved._replace(config=replace(saved.config, dtype="float32"))
    embedder = Embedder(exact, num_devices=1)
    if formats and saved.config.dtype != "float32":
        print(f"the run computed in {saved.config.dtype}; computation in float32: {', '.join(formats)}")
    with writing(out), atomic_folder(out) as part:
        shared = saved._replace(config=without_paths(saved.config))
        save_model(part, shared)
        calibration, current = embedder.calibration, (saved.hash, settings_of(saved.config.evaluation))
        if calibration is not None and (calibration.model, dict(calibration.settings)) != current:
            print(f"{calibration.path} is of other weights or settings, so it is not exported: run rgcn-jax calibrate")
            calibration = None
        if calibration is not None:
            write_calibration(replace(calibration, path=part / CALIBRATION_FILE))
        description = _write_formats(embedder, part, formats)
        (part / DESCRIPTION_FILE).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        card = model_card(shared, results_of(saved), calibration, licence, description)
        (part / CARD_FILE).write_text(card, encoding="utf-8")


def without_paths(config: Config) -> Config:
    """Remove folders of the machine from a config; of a file its name is kept."""
    data = replace(config.data, root="", keypoints="", features=Path(config.data.features).name)
    model = replace(config.model, pretrained=Path(config.model.pretrained).name)
    return replace(config, data=data, model=model)


def _write_formats(embedder: Embedder, folder: Path, formats: Collection[str]) -> dict[str, Any]:
    """Write and check each format; return the contents of ``export.json``."""
    description: dict[str, Any] = {
        "format": "rgcn_jax export",
        "version": 1,
        "model": embedder.hash,
        "step": embedder.step,
        "distance": embedder.config.evaluation.distance,
        "pose_weight": embedder.config.evaluation.pose_weight,
        "versions": versions(),
        "formats": {},
    }
    if not formats:
        return description
    function = exported_function(embedder)
    expected = reference(embedder, function)
    description |= function.signature(BATCH)
    description["check"] = {"tracklets": TRACKLETS, "batch_sizes": BATCH_SIZES, "tolerance": TOLERANCE}
    for name in formats:
        format = FORMATS[name]
        format.write(function, folder / format.file)
        errors = check(embedder, expected, name, folder)
        description["formats"][name] = {"file": format.file, "errors": errors}
        if name != "onnx":
            description["formats"][name]["platforms"] = PLATFORMS
        print(f"{name}: {format.file}, largest error {max(errors.values()):.1e} of a feature's length")
    return description


def check_target(out: Path) -> None:
    """Raise ``InputError`` if the folder exists, its parent does not, or another export is writing it."""
    if out.exists() or out.is_symlink():
        raise InputError(f"{out} already exists, and an export never overwrites: choose another --out.")
    if not out.parent.is_dir():
        raise InputError(f"--out={out}: the folder {out.parent} does not exist: create it first.")
    if unfinished := find_unfinished(out.parent, out.name):
        raise InputError(f"{unfinished[0]} is of a running or killed export: remove it if none is running.")
