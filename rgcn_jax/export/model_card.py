"""Model card, the README.md of a model folder: description of the model, measured results and limits."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rgcn_jax.calibration import Calibration
from rgcn_jax.errors import MALFORMED
from rgcn_jax.evaluation.distance import ROWS
from rgcn_jax.evaluation.results import RESULTS_FILE
from rgcn_jax.evaluation.tables import format_bounds
from rgcn_jax.runtime.user_files import read_text
from rgcn_jax.saved_model import SavedModel

CARD_FILE = "README.md"
NUMBERS = ("mAP", "rank1", "rank5", "rank10", "rank20")

LIMITS = (
    "For research on person re-identification, and for searching recordings that one is allowed to search. The frames "
    "show people: embedding them is processing of personal data, in many places biometric data, and requires a legal "
    "basis, such as consent. A feature is personal data like the frames from which it was computed.",
    "",
    "- A small distance is not an identification. Do not base decisions about a person on it alone.",
    "- The model reflects its training data: their cameras, seasons, clothes and persons. Its accuracy on other data "
    "is lower, to an extent that is unknown until measured; differences between groups of people were not measured.",
    "- It relies on clothes first: a person in other clothes may appear to be another one, and persons in similar "
    "clothes the same.",
    "- Keypoints come from a pose detector; another detector, or crops of another shape, change the features.",
    "- A threshold is valid for data like those on which it was measured.",
)


def results_of(saved: SavedModel) -> list[dict[str, Any]]:
    """Evaluations of these weights in the run's folder: ``results.json`` and ``evaluations/*.json``."""
    found = []
    for path in (saved.path / RESULTS_FILE, *sorted((saved.path / "evaluations").glob("*.json"))):
        try:
            content = json.loads(read_text(path))
            if content["step"] == saved.step and content.get("model", saved.hash) == saved.hash:
                _ = [*_results([content]), *_data("", content.get("data"))]
                found.append(content)
        except MALFORMED:
            continue  # missing, or of another program
    return found


def model_card(
    saved: SavedModel,
    results: Iterable[Mapping[str, Any]],
    calibration: Calibration | None,
    licence: str,
    description: Mapping[str, Any],
) -> str:
    """Write the text of the card.

    ``results``: from ``results_of``. ``licence``: empty if unknown. ``description``: contents of ``export.json``.
    """
    results, config = list(results), saved.config
    data = next((r["data"] for r in results if r.get("data")), None)
    stated = licence or "not stated"
    branch = f"{config.model.pose} with readout {config.model.readout} on 14 keypoints" if config.with_pose else "none"
    lines = [
        "---",
        f"license: {json.dumps(stated)}",
        "library_name: rgcn_jax",
        "tags: [person-re-identification, video, pose]",
        "---",
        "",
        "# Video person re-identification model",
        "",
        "Converts a tracklet (the frames of one person in one camera, and the person's keypoints) to a feature. The "
        "Euclidean distance of two `fused` features is small if both show the same person.",
        "",
        "| | |",
        "|---|---|",
        f"| Appearance branch | {config.model.appearance} |",
        f"| Pose branch | {branch} |",
        f"| Clip | {config.frames_per_clip} frames of {config.image_height} x {config.image_width} pixels, RGB |",
        f"| Distance | {config.evaluation.distance}, pose weight {config.evaluation.pose_weight:g} |",
        f"| Weights | step {saved.step}, SHA-256 `{saved.hash}` |",
        f"| Licence | {stated} |",
    ]
    sections = {
        "Training data": _data(config.data.name, data),
        "Results": _results(results),
        "Threshold": _threshold(calibration),
        "How to load it": [
            "    import rgcn_jax",
            '    embedder = rgcn_jax.load("FOLDER")',
            f"    a, b = embedder([frames_a, frames_b]{', [keypoints_a, keypoints_b]' if config.with_pose else ''})",
            "    embedder.distance(a, b)",
            "",
            *_exports(description, config.evaluation.clips),
        ],
        "Intended use and limits": LIMITS,
    }
    lines += [line for title, text in sections.items() for line in ("", f"## {title}", "", *text)]
    return "\n".join(lines) + "\n"


def _data(name: str, data: Mapping[str, Any] | None) -> Iterator[str]:
    if data is None:
        yield f"The data set `{name}`; numbers of persons and tracklets were not recorded with the model."
        return
    partition = f", {data['partition']}" if data.get("partition") else ""
    yield f"The data set `{data['name']}`{partition}. SHA-256 of its list of tracklets: `{data['sha256']}`."
    yield ""
    yield "| Part | Persons | Tracklets | Frames |"
    yield "|---|---|---|---|"
    for part in ("train", "query", "gallery", "junk"):
        counts = data[part]
        yield f"| {part} | {counts['people']} | {counts['tracklets']} | {counts['frames']} |"


def _results(results: list[Mapping[str, Any]]) -> Iterator[str]:
    if not results:
        yield "No evaluation of these weights was found with the exported model: run `rgcn-jax evaluate`."
        return
    yield "In per cent; 95 % intervals in brackets, if known."
    seen: set[str] = set()
    for result in results:
        rows = {row: result[row] for row in ROWS if row in result}
        title = (
            f"`{result['data_set']}`, protocol {result['protocol']}, distance {result['distance']}, clips "
            f"{result['clips']}: {result['valid_queries']} valid queries, {result['skipped_queries']} skipped, gallery "
            f"of {result['gallery']}, chance Rank-1 {result['chance_rank1']:.1f}"
        )
        if (text := f"{title}{rows}") in seen:
            continue
        seen.add(text)
        names = [name for name in NUMBERS if all(name in numbers for numbers in rows.values())]
        yield from ("", title, "", f"| Row | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|")
        for row, numbers in rows.items():
            intervals = numbers.get("intervals") or {}
            values = (format_bounds(numbers[name], intervals.get(name)) for name in names)
            yield f"| {row} | {' | '.join(values)} |"


def _threshold(calibration: Calibration | None) -> Iterator[str]:
    if calibration is None:
        yield "Not calibrated: `rgcn-jax calibrate` measures thresholds."
        return
    found = calibration.rows.get("fused", calibration.rows.get("appearance", {}))
    yield (
        f"Measured on `{calibration.data_set}` ({found.get('genuine_pairs')} genuine pairs, "
        f"{found.get('impostor_pairs')} impostor pairs); `embedder.same_person(a, b, fpr=...)` applies it."
    )
    yield from ("", "| FPR | Distance below | TPR, per cent |", "|---|---|---|")
    for rate, point in found.get("tpr_at_fpr", {}).items():
        if point is None:
            yield f"| {rate} | too few pairs | |"
        else:
            yield f"| {rate} | {point['threshold']:.6g} | {format_bounds(point['tpr'], point.get('interval'))} |"


def _exports(description: Mapping[str, Any], clips: str) -> Iterator[str]:
    formats = description["formats"]
    if not formats:
        return
    yield (
        "The files below are for other runtimes; `export.json` lists their inputs and outputs. Each was run in its own "
        "runtime on 16 tracklets and agrees with the model to the error given (relative to the length of a feature)."
    )
    if clips == "full":
        yield (
            "They process clips of fixed length. The results and thresholds above were measured with the pose feature "
            "of all frames of a tracklet as one clip; means over clips from these files differ, so calibrate them "
            "again."
        )
    yield from ("", "| Format | File | Largest error |", "|---|---|---|")
    for name, of_format in formats.items():
        yield f"| {name} | `{of_format['file']}` | {max(of_format['errors'].values()):.1e} |"
