"""The model card, README.md of a model folder: what the model is, what it was measured to do, and its limits."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rgcn_jax.calibration import Calibration
from rgcn_jax.errors import MALFORMED
from rgcn_jax.evaluation.results import RESULTS_FILE
from rgcn_jax.runtime.handed_over import read_text
from rgcn_jax.saved_model import SavedModel

CARD_FILE = "README.md"
ROWS, NUMBERS = ("appearance", "pose", "fused"), ("mAP", "rank1", "rank5", "rank10", "rank20")


def results_of(saved: SavedModel) -> list[dict[str, Any]]:
    """The evaluations beside a run that are of these weights: ``results.json`` and ``evaluations/*.json``."""
    found = []
    for path in (saved.path / RESULTS_FILE, *sorted((saved.path / "evaluations").glob("*.json"))):
        try:
            content = json.loads(read_text(path))
            if content["step"] == saved.step and content.get("model", saved.hash) == saved.hash:
                _ = [*_results([content]), *_data("", content.get("data"))]
                found.append(content)
        except MALFORMED:
            continue  # none, or another program's
    return found


def model_card(
    saved: SavedModel,
    results: Iterable[Mapping[str, Any]],
    calibration: Calibration | None,
    licence: str,
    description: Mapping[str, Any],
) -> str:
    """The text of the card.

    Args:
      saved: the model.
      results: of ``results_of``.
      calibration: its thresholds, where it has some.
      licence: of the weights; empty where it is not stated.
      description: the content of ``export.json``.
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
        "Turns a tracklet (the frames of one person in one camera, and the person's keypoints) into a feature. The "
        "Euclidean distance of two `fused` features is small where both show the same person.",
        "",
        "| | |",
        "|---|---|",
        f"| Appearance branch | {config.model.appearance} |",
        f"| Pose branch | {branch} |",
        f"| Clip | {config.frames_per_clip} frames of {config.image_height} x {config.image_width} pixels, RGB |",
        f"| Distance | {config.evaluation.distance}, pose weight {config.evaluation.pose_weight:g} |",
        f"| Weights | step {saved.step}, SHA-256 `{saved.hash}` |",
        f"| Licence | {stated} |",
        "",
        "## Training data",
        "",
        *_data(config.data.name, data),
        "",
        "## Results",
        "",
        *_results(results),
        "",
        "## Threshold",
        "",
        *_threshold(calibration),
        "",
        "## How to load it",
        "",
        "    import rgcn_jax",
        '    embedder = rgcn_jax.load("FOLDER")',
        f"    a, b = embedder([frames_a, frames_b]{', [keypoints_a, keypoints_b]' if config.with_pose else ''})",
        "    embedder.distance(a, b)",
        "",
        *_exports(description, saved.config.evaluation.clips),
        "",
        "## Intended use and limits",
        "",
        "For research on person re-identification, and for searching recordings that one may search. The frames show "
        "people: whoever embeds them processes personal data, in many places biometric data, and needs the right to do "
        "so (consent or another legal basis). A feature is personal data like the frames that it was made from.",
        "",
        "- A small distance is no identification. Do not decide about a person on it alone.",
        "- The model knows what its training data show: their cameras, seasons, clothes and people. Elsewhere it is "
        "worse, by how much is unknown until it is measured there; it was not measured for different results between "
        "groups of people.",
        "- It sees clothes first. Who changes them is another person to it, and people dressed alike are one.",
        "- Keypoints come from a pose detector; another detector, or a crop of another shape, moves the features.",
        "- A threshold holds for data like those that it was measured on.",
    ]
    return "\n".join(lines) + "\n"


def _data(name: str, data: Mapping[str, Any] | None) -> Iterator[str]:
    if data is None:
        yield f"The data set `{name}`; how many tracklets of whom is not recorded beside the model."
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
        yield "None of these weights is beside the model that was exported: run `rgcn-jax evaluate`."
        return
    yield "In per cent; in brackets the 95 % interval, where it is known."
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
            yield f"| {row} | {' | '.join(_number(numbers, name) for name in names)} |"


def _number(numbers: Mapping[str, Any], name: str) -> str:
    interval = (numbers.get("intervals") or {}).get(name)
    return f"{numbers[name]:.1f}" + (f" [{interval[0]:.1f}, {interval[1]:.1f}]" if interval else "")


def _threshold(calibration: Calibration | None) -> Iterator[str]:
    if calibration is None:
        yield "Not calibrated: `rgcn-jax calibrate` measures one."
        return
    found = calibration.rows.get("fused", calibration.rows.get("appearance", {}))
    yield (
        f"Measured on `{calibration.data_set}` ({found.get('genuine_pairs')} pairs of one person, "
        f"{found.get('impostor_pairs')} of two); `embedder.same_person(a, b, fpr=...)` applies it."
    )
    yield from ("", "| FPR | Distance below | TPR, per cent |", "|---|---|---|")
    for rate, point in found.get("tpr_at_fpr", {}).items():
        if point is None:
            yield f"| {rate} | too few pairs | |"
        else:
            interval = point.get("interval")
            shown = f" [{interval[0]:.1f}, {interval[1]:.1f}]" if interval else ""
            yield f"| {rate} | {point['threshold']:.6g} | {point['tpr']:.1f}{shown} |"


def _exports(description: Mapping[str, Any], clips: str) -> Iterator[str]:
    formats = description["formats"]
    if not formats:
        return
    yield (
        "For other runtimes there are the files below; `export.json` has their inputs and outputs. Each was run by its "
        "own runtime on 16 tracklets and agrees with the model to the error given (a share of the feature's length)."
    )
    if clips == "full":
        yield (
            "They compute clips of fixed length. The results and thresholds above were measured with the pose feature "
            "of all frames of a tracklet as one clip; means over clips from these files differ, so calibrate them anew."
        )
    yield from ("", "| Format | File | Largest error |", "|---|---|---|")
    for name, of_format in formats.items():
        yield f"| {name} | `{of_format['file']}` | {max(of_format['errors'].values()):.1e} |"
