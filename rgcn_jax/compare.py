"""The command ``rgcn-jax compare``, also ``python -m rgcn_jax.compare``: compare two configurations, or two rows.

Differences come with intervals and p-values over persons.
"""

import json
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence

from rgcn_jax.command import Parser, last_line, run_command
from rgcn_jax.errors import InputError, listed
from rgcn_jax.experiments.comparison import Comparison, as_json, compare, differing, group, pairs
from rgcn_jax.experiments.scored_run import load_scored_run
from rgcn_jax.runtime.files import write_text


def main(arguments: Sequence[str] | None = None, prog: str = "rgcn-jax compare") -> None:
    """Parse the command line, compare the runs, print a table and write ``--out``. Raises ``InputError`` for invalid
    input.
    """
    known = _parse(arguments, prog)
    runs = [load_scored_run(path) for path in known.runs]
    groups = group(runs)
    if known.rows:
        rows = [(known.rows[0], known.rows[1])]
        if len(groups) != 1:
            raise InputError(f"--rows compares rows of one configuration: found runs of {len(groups)} configurations.")
        paired = [(run, run) for run in runs]
    else:
        if len(groups) != 2:
            raise InputError(
                f"expected runs of two configurations, found {len(groups)}: "
                f"{listed([str(runs[0].path) for runs in groups])}. Runs that differ only in seed, split and path "
                "count as one configuration."
            )
        paired = pairs(*groups)
        common = set.intersection(*({name.split("/")[1] for name in run.scores} for pair in paired for run in pair))
        rows = [(row, row) for row in ("appearance", "pose", "fused") if row in common]
    protocol = known.protocol or paired[0][0].protocol
    comparison = compare(paired, rows, protocol, known.resamples)
    first, second = paired[0]
    for name, values in differing(first, second).items():
        print(f"{name}: {values[0]!r} -> {values[1]!r}")
    print(_table(comparison))
    if known.out:
        write_text(known.out, json.dumps(as_json(comparison, first, second), indent=2) + "\n")
    made = f"comparison: {known.out}" if known.out else "not saved: --out=FILE.json writes it"
    folders = [path for path in dict.fromkeys((second.path, first.path)) if path.is_dir()]
    if folders:
        print(last_line(made, "rgcn-jax", "report", *folders, "--out=report.html"))
    else:
        print(last_line(made, then="to see where the runs differ: rgcn-jax report RUN BASELINE --out=report.html"))


def _table(comparison: Comparison) -> str:
    first = comparison.cells[0]
    lines = [
        f"protocol {comparison.protocol}, {comparison.num_pairs} pair(s) of runs, {first.num_queries:,} queries of "
        f"{first.num_persons:,} persons; per cent, 95 % intervals over persons, p corrected by Holm's method",
        f"{'':<11}{'':<8}{'first':>7}{'second':>8}{'difference':>12}{'interval':>18}{'p':>9}{'p Holm':>9}  wins/losses",
    ]
    for cell in comparison.cells:
        value, interval, p = cell.difference
        between = "too few persons" if interval is None else f"[{interval[0]:+.1f}, {interval[1]:+.1f}]"
        lines.append(
            f"{cell.row:<11} {cell.metric:<7}{cell.first:7.1f}{cell.second:8.1f}{value:+12.1f}{between:>18}{p:9.4f}"
            f"{cell.p_holm:9.4f}  {cell.wins}/{cell.losses}"
        )
    for title, changed in (("gained", comparison.gains), ("lost", comparison.losses)):
        if changed:
            lines.append(f"queries that {title} most (AP): " + listed([f"{n} {v:+.0f}" for n, v in changed], 3))
    return "\n".join(lines)


def _parse(arguments: Sequence[str] | None, prog: str) -> Namespace:
    parser = Parser(
        prog,
        "Compare two configurations, each with one or more seeds or splits, paired by query; or two rows of one "
        "configuration.",
        epilog='Example: rgcn-jax compare runs/base-* runs/rgcn-*. "Does pose help": rgcn-jax compare runs/rgcn-* '
        "--rows=appearance,fused.",
    )
    parser.path("runs", "RUN", "run folders, or result files in evaluations/", nargs="+")
    parser.flag("--rows", "compare two rows of the same runs", type=_two_rows, metavar="A,B")
    parser.flag("--protocol", "evaluation protocol (default: that of the first run)", metavar="NAME")
    parser.whole("--resamples", "resamples of the persons", default=10_000)
    parser.path("--out", "FILE.json", "file to write the comparison to")
    known = parser.parse_args(arguments)
    if known.out and not known.out.parent.is_dir():
        raise InputError(f"--out={known.out}: the folder {known.out.parent} does not exist.")
    return known


def _two_rows(text: str) -> list[str]:
    rows = text.split(",")
    if len(rows) != 2 or not set(rows) <= {"appearance", "pose", "fused"}:
        raise ArgumentTypeError(f"expected two of appearance, pose, fused, found {text!r}")
    return rows


if __name__ == "__main__":
    run_command(main, prog="python -m rgcn_jax.compare")
