"""The command ``rgcn-jax sweep``, also ``python -m rgcn_jax.sweep``: train all runs of a table and print it."""

import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence

from rgcn_jax.command import Parser, last_line, run_command
from rgcn_jax.errors import InputError, printable
from rgcn_jax.experiments.cells import SPLIT_COUNTS, Cell, cells, number_list
from rgcn_jax.experiments.parallel_jobs import run_parallel_jobs
from rgcn_jax.experiments.results_table import FORMATS, fill
from rgcn_jax.experiments.sweep import Sweep, read_record, record
from rgcn_jax.experiments.table import Table, load_table
from rgcn_jax.runtime import processes
from rgcn_jax.runtime.files import write_text
from rgcn_jax.runtime.preemption import Stopping

SUFFIXES = {"markdown": "md", "csv": "csv", "latex": "tex"}


def main(arguments: Sequence[str] | None = None, prog: str = "rgcn-jax sweep") -> int:
    """Parse the command line, train the missing runs, print the table and write it in all formats.

    Returns the exit status, 1 if a run failed. Raises ``InputError`` for invalid arguments, tables and configs, and
    ``Stopped`` after a signal, once the current run is saved.
    """
    known, overrides = _parse(arguments, prog)
    table = load_table(known.table)
    if known.print:
        if not read_record(known.out):
            raise InputError(f"--out={known.out}: no runs found there; omit --print to start them.")
        print(fill(table, known.out).write(known.format), end="")
        print(_last_line(f"runs: {known.out}", known, _other(known)), file=sys.stderr)  # stdout has the table only
        return 0
    wanted = _cells(known, table, overrides)
    status = run_parallel_jobs(_of_job(known, overrides), known.jobs) if known.jobs > 1 else _run(wanted, known)
    if known.no_table:
        print(_last_line(f"runs: {known.out}", known, failed=status))
        return status
    filled = fill(table, known.out)
    for style, suffix in SUFFIXES.items():
        write_text(known.out / f"{known.name}.{suffix}", filled.write(style))
    print(filled.write(known.format), end="")
    written = f"table: {known.out / known.name}.md, .csv, .tex"
    print(_last_line(written, known, _other(known), failed=status))
    return status


def _other(known: Namespace) -> str:
    return f"--format={'latex' if known.format != 'latex' else 'csv'}"


def _last_line(result: str, known: Namespace, *flags: str, failed: int = 0) -> str:
    """The last line: the command that prints the table in another format, or what to do about failed runs."""
    if failed:
        return last_line(result, then="see log.txt of the failed runs, then rerun the same command")
    return last_line(result, "rgcn-jax", "sweep", known.table, f"--out={known.out}", "--print", *flags)


def _of_job(known: Namespace, overrides: Sequence[str]) -> list[str]:
    """The command line of one of several worker processes."""
    names = [f"--dataset={name}" for name in known.dataset]
    index, count = known.only
    return [
        known.table,
        f"--out={known.out}",
        *names,
        f"--seeds={known.seeds}",
        f"--splits={known.splits}",
        f"--only={index}/{count}",
        "--no-table",
        *overrides,
    ]


def _cells(known: Namespace, table: Table, overrides: Sequence[str]) -> list[Cell]:
    """The runs of the sweep, with all configs validated; the requested runs are recorded in the output folder."""
    if processes.place() is not None:
        raise InputError("a sweep does not use JAX's multi-process mode: divide it by --only=I/N (docs/sweeps.md).")
    unknown = set(known.dataset) - set(table.data_sets)
    if unknown:
        raise InputError(f"--dataset={', '.join(sorted(unknown))}: expected one of {', '.join(table.data_sets)}.")
    names = known.dataset or (["walkers"] if "walkers" in table.data_sets else table.data_sets)
    seeds, splits = number_list(known.seeds, "--seeds", 0), number_list(known.splits, "--splits", 1)
    wanted: list[Cell] = []
    for name in names:
        most = SPLIT_COUNTS.get(name, 1)
        if name in SPLIT_COUNTS and max(splits) > most:
            raise InputError(f"--splits={known.splits}: {name} has splits 1 to {most}.")
        found = cells(table, name, seeds, splits, overrides, known.out)
        if not found[0].config.data.root and name != "walkers":
            raise InputError(f"{name}: data.root is empty: set its folder by --config.data.root=DIR.")
        wanted += found
    for name in names:
        pairs = [(c.config.seed, c.config.data.split) for c in wanted if c.data_set == name]
        record(known.out, name, overrides, pairs)
    return wanted


def _run(wanted: Sequence[Cell], known: Namespace) -> int:
    index, count = known.only
    share = list({cell.folder: cell for cell in wanted}.values())[index::count]
    done = sum(cell.results() is not None for cell in share)
    runs = "1 run" if len(share) == 1 else f"{len(share)} runs"
    print(f"{runs}, {done} of them finished", flush=True)
    with Stopping() as stopping:
        sweep = Sweep(stopping, lambda text: print(printable(text), flush=True))
        sweep.run(share)
    print(f"{runs}: {len(sweep.failed)} failed, {len(sweep.elsewhere)} in other processes", flush=True)
    return 1 if sweep.failed else 0


def _parse(arguments: Sequence[str] | None, prog: str) -> tuple[Namespace, list[str]]:
    parser = Parser(
        prog,
        "Train all runs of a table, each in its own folder, and print the table. Finished runs are skipped; rerun the "
        "same command to resume.",
        epilog="Fields of all configs can be changed, such as --config.data.root=/data/MARS. Example: rgcn-jax sweep "
        "table3 --dataset=walkers --seeds=0:2 --out=runs/tables",
        config_fields=True,
    )
    parser.add_argument("table", metavar="TABLE", help="a table file, or the name of a packaged one such as table3")
    parser.path("--out", "DIR", "folder for all runs", required=True)
    parser.flag(
        "--dataset",
        "data set of the table; may be repeated (default: walkers, which needs no data, if the table has it)",
        action="append",
        default=[],
        metavar="NAME",
    )
    parser.flag("--seeds", "seeds, as a range A:B with both included, or a list A,B,C", default="0", metavar="A:B")
    parser.flag("--splits", "splits of iLIDS-VID and PRID2011, in the same form", default="1", metavar="A:B")
    parser.flag(
        "--only",
        "every N-th run, starting with the I-th, I from 0 to N-1 (default: 0/1, all)",
        type=_share,
        default=(0, 1),
        metavar="I/N",
    )
    parser.whole("--jobs", "number of runs at a time, each on its own GPUs or cores", default=1, most=1000)
    parser.switch("--no-table", "train without printing the table")
    parser.switch("--print", "print the table of the finished runs, without training")
    parser.flag("--format", "format of the printed table", choices=FORMATS, default=FORMATS[0])
    known, overrides = parser.parse_known_args(arguments)
    known.name = known.table.rsplit("/", 1)[-1].removesuffix(".py")
    if known.print and overrides:
        raise InputError("--print uses the config of the sweep itself: omit the --config fields.")
    return known, overrides


def _share(text: str) -> tuple[int, int]:
    first, slash, last = text.partition("/")
    if not slash or not first.isdecimal() or not last.isdecimal() or not int(first) < int(last[:6]):
        raise ArgumentTypeError(f"expected I/N with I from 0 to N - 1, found {text[:50]!r}")
    return int(first), int(last)


if __name__ == "__main__":
    run_command(main, prog="python -m rgcn_jax.sweep")
