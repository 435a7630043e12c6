"""Tables of a report: metrics with intervals, differences to the baselines, provenance."""

import json
from collections.abc import Sequence
from typing import Any

from rgcn_jax.evaluation.significance import paired_difference, ranking_json, values_by_query
from rgcn_jax.evaluation.tables import format_bounds
from rgcn_jax.report.page import table, text
from rgcn_jax.report.reported_run import ReportedRun

METRICS = {"mAP": "mAP", "mINP": "mINP", "rank1": "Rank-1", "rank5": "Rank-5", "rank10": "Rank-10", "rank20": "Rank-20"}


def metrics_table(runs: Sequence[ReportedRun]) -> str:
    """All rows of every run under its headline protocol, each value with its 95 % interval over persons."""
    lines = []
    for run in runs:
        for row, metrics in run.metrics.items():
            found = ranking_json(metrics, run.evaluation.query_ids)
            values = [format_bounds(found[name], found["intervals"][name]) for name in METRICS]
            lines.append([f"{run.name}, {row}", *values])
    return table(["", *METRICS.values()], lines)


def difference_table(runs: Sequence[ReportedRun]) -> str:
    """First run minus each other run, of their last rows, paired by query; empty without baselines."""
    lines = []
    first, protocol = runs[0], runs[0].evaluation.protocol
    for other in runs[1:]:
        same = other.evaluation.features.first_frames == first.evaluation.features.first_frames
        if not same or protocol not in other.evaluation.metrics:
            what = f"no protocol {protocol}" if same else "different tracklets"
            lines.append([other.name, f"{what}: no paired comparison", "", "", ""])
            continue
        values = [values_by_query(run.evaluation.metrics[protocol][run.rows[-1]]) for run in (other, first)]
        for name in ("mAP", "rank1"):
            found = paired_difference(values[0][name], values[1][name], first.evaluation.query_ids)
            between = "-" if found.interval is None else f"[{found.interval[0]:+.1f}, {found.interval[1]:+.1f}]"
            lines.append([other.name, METRICS[name], f"{found.value:+.1f}", between, f"{found.p_value:.4f}"])
    if not lines:
        return ""
    about = "<p>Difference to each baseline, paired by query; interval and p-value over persons, not corrected.</p>"
    return about + table(["baseline", "metric", "difference", "95 % interval", "p"], lines)


def about(run: ReportedRun) -> str:
    """Paragraph with data set, protocol, settings and counts of the metrics."""
    found = run.evaluation.description()
    return (
        f'<p class="soft">{text(found["data_set"] or "unknown data set")}, protocol {text(found["protocol"])}, '
        f"distance {text(found['distance'])}, clips {text(found['clips'] or run.embedder.config.evaluation.clips)}: "
        f"{found['valid_queries']:,} valid queries, {found['skipped_queries']:,} skipped, gallery "
        f"{found['gallery']:,}. Expected Rank-1 of a random ranking: {found['chance_rank1']:.1f}. Per cent, with 95 % "
        "intervals over persons.</p>"
    )


def provenance_table(runs: Sequence[ReportedRun]) -> str:
    """Step, hash of the weights, data, versions and hardware of each run."""
    lines = []
    for run in runs:
        found: dict[str, Any] = {"step": run.evaluation.step, "weights (SHA-256)": run.embedder.hash}
        found |= {name: run.results[name] for name in ("data", "versions", "git", "hardware") if name in run.results}
        for name, value in found.items():
            shown = value if isinstance(value, str | int) else json.dumps(value, sort_keys=True)
            lines.append(
                f'<tr><td>{text(run.name)}</td><td class="text">{text(name)}</td>'
                f'<td class="text">{text(shown)}</td></tr>'
            )
    return f'<div class="provenance wide"><table>{"".join(lines)}</table></div>'
