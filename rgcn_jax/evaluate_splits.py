"""Mean and standard error over the published splits of a data set: ``rgcn-jax evaluate --all-splits``.

The usual report for iLIDS-VID and PRID2011, which have ten splits. The splits share persons, so the standard error, s /
sqrt(n) for the standard deviation s of n splits, underestimates that of independent samples.
"""

import json
import re
import statistics
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rgcn_jax.command import last_line
from rgcn_jax.errors import InputError
from rgcn_jax.runtime.files import write_text

if TYPE_CHECKING:  # not at run time: it imports JAX, which takes seconds
    from rgcn_jax.evaluation.results import Evaluation

_OF = re.compile(r"split ([0-9]+) of ([0-9]+)")


def evaluate_splits(known: Namespace, evaluate: Callable[[Namespace], "tuple[Evaluation, Path]"]) -> dict[str, Any]:
    """Evaluate every published split, print and write mean and standard error of each row, and return what was written.

    ``known``: the flags; ``{split}`` in ``model``, ``features`` and ``save_features`` stands for the split number, and
    ``out`` is the file of the means. ``evaluate``: evaluates one split; returns the evaluation and the path of its
    results. Raises InputError if the data set has only one split, or a split cannot be evaluated.
    """
    found: list[Evaluation] = []
    files: list[Path] = []
    count = 1
    while len(found) < count:
        number = len(found) + 1
        evaluation, file = evaluate(_of_split(known, number))
        described = _OF.search(evaluation.data_set)
        if described is None or int(described[1]) != number:
            raise InputError(
                f"--all-splits: expected split {number} of a data set with several published splits, found "
                f"{evaluation.data_set or 'features without a split description'}."
            )
        count = int(described[2])
        found.append(evaluation)
        files.append(file)
    results = summary(found)
    from rgcn_jax import parallel  # after the first evaluation, which imports JAX

    if not parallel.is_first():
        return results
    path = known.out or (_plain(known.model or known.features.parent) / f"splits-{found[0].distance}.json")
    write_text(path, json.dumps(results, indent=2) + "\n")
    print(_table(results))
    other = "--rows=appearance,fused" if len(found[0].rows) > 1 else "OTHER.json"
    print(last_line(f"means: {path}", "rgcn-jax", "compare", *files, other))
    return results


def summary(found: "list[Evaluation]") -> dict[str, Any]:
    """Mean and standard error by row and metric, in per cent, under the headline protocol."""
    rows = {
        row: {
            metric: {
                "mean": statistics.fmean(values),
                "standard_error": statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None,
                "values": values,
            }
            for metric in numbers
            for values in [[evaluation.rows[row][metric] for evaluation in found]]
        }
        for row, numbers in found[0].rows.items()
    }
    return {
        "data_set": found[0].data_set.partition(" ")[0],
        "splits": len(found),
        "protocol": found[0].protocol,
        "distance": found[0].distance,
        "rows": rows,
    }


def _of_split(known: Namespace, number: int) -> Namespace:
    values = dict(vars(known), split=number, out=None)
    for name in ("model", "features", "save_features"):
        if values[name]:
            values[name] = Path(str(values[name]).replace("{split}", str(number)))
    return Namespace(**values)


def _plain(path: Path) -> Path:
    """The folder above the first path component that contains ``{split}``."""
    parts = path.parts
    named = next((i for i, part in enumerate(parts) if "{split}" in part), len(parts))
    return Path(*parts[:named])


def _table(results: dict[str, Any]) -> str:
    from rgcn_jax.evaluation.tables import format_value

    lines = [
        f"{results['data_set']}, mean over {results['splits']} splits ± standard error, protocol {results['protocol']}"
    ]
    metrics = list(next(iter(results["rows"].values())))
    lines.append(" " * 10 + "".join(f"{metric:>12}" for metric in metrics))
    for row, numbers in results["rows"].items():
        cells = []
        for metric in metrics:
            mean, error = numbers[metric]["mean"], numbers[metric]["standard_error"]
            cells.append(format_value(mean, None if error is None else (mean - error, mean + error)))
        lines.append(f"{row:<10}" + "".join(f"{cell:>12}" for cell in cells))
    return "\n".join(lines)
