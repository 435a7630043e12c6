"""The command ``rgcn-jax report``, also ``python -m rgcn_jax.report``: an HTML page about a run, and its figures."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from rgcn_jax.command import Parser, last_line, run_command
from rgcn_jax.config_io import import_from_current_folder
from rgcn_jax.errors import InputError, as_input_error
from rgcn_jax.report.interactive import require_libraries
from rgcn_jax.runtime.files import write_text


def main(arguments: Sequence[str] | None = None, prog: str = "rgcn-jax report") -> None:
    """Parse the command line, load the runs and write the report.

    Raises:
      InputError: an argument is invalid, a run or its data cannot be read, a library is missing, or a file cannot be
        written.
    """
    known, overrides = _parse(arguments, prog)
    require_libraries()
    from rgcn_jax.report.build import build  # imported after parsing: JAX takes seconds
    from rgcn_jax.report.reported_run import load_run
    from rgcn_jax.runtime.compilation_cache import keep_compiled

    if note := keep_compiled():
        print(note, flush=True)
    if known.allow_import:
        import_from_current_folder()
    paths = [known.run, *known.baselines]
    names = _names(paths)
    runs = [load_run(path, overrides, known.allow_import, name) for path, name in zip(paths, names, strict=True)]
    if known.figures is not None:
        with as_input_error(f"--figures={known.figures} cannot be created"):
            known.figures.mkdir(parents=True, exist_ok=True)
    content = build(runs, known.queries, not known.no_images, known.figures)
    write_text(known.out, content)
    if known.figures is not None:
        print(f"figures: {known.figures}")
    size = f"{len(content.encode()) / 1e6:.1f} MB"
    print(last_line(f"report: {known.out}, {size}", then=f"open {known.out} in a browser"))


def _names(paths: Sequence[Path]) -> list[str]:
    """Names of the runs in the report: their folders, with the parent folder where names coincide.

    Raises:
      InputError: a folder occurs twice.
    """
    whole = [path.resolve() for path in paths]
    if len(set(whole)) < len(whole):
        raise InputError("a run was given twice: expected distinct folders.")
    parts = 1
    while len(set(names := ["/".join(path.parts[-parts:]) for path in whole])) < len(whole):
        parts += 1
    return names


def _parse(arguments: Sequence[str] | None, prog: str) -> tuple[Namespace, list[str]]:
    parser = Parser(
        prog,
        "Write a self-contained HTML page about a run: metrics with intervals, curves, rank lists, attention and a map "
        "of the features.",
        epilog="Fields of the runs' configs can be changed, such as --config.data.root=DIR. Example: rgcn-jax report "
        "runs/rgcn runs/baseline --out=report.html --figures=figures",
        config_fields=True,
    )
    parser.path("run", "RUN", "folder of the run")
    parser.path("baselines", "BASELINE", "folders of runs to compare it with", nargs="*")
    parser.path("--out", "FILE.html", "HTML file to write", required=True)
    parser.path("--figures", "DIR", "folder to write the figures to, as SVG and PDF")
    parser.whole("--queries", "number of rank lists", default=40, most=1000)
    parser.switch("--no-images", "omit images of persons")
    parser.flag(
        "--allow-import",
        "a Python module that a model's config names and that may be imported; may be repeated",
        action="append",
        default=[],
        metavar="MODULE",
    )
    known, overrides = parser.parse_known_args(arguments)
    if not known.out.parent.is_dir():
        raise InputError(f"--out={known.out}: the folder {known.out.parent} does not exist.")
    return known, overrides


if __name__ == "__main__":
    run_command(main, prog="python -m rgcn_jax.report")
