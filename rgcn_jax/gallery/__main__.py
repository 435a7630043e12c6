"""The command ``rgcn-jax gallery``, also ``python -m rgcn_jax.gallery``: enrol tracklets and search for them."""

from collections import Counter
from collections.abc import Sequence

from rgcn_jax.command import Parser, last_line, run_command
from rgcn_jax.errors import InputError, printable
from rgcn_jax.gallery import flags
from rgcn_jax.gallery.entry import EVERYTHING

DOES = {
    "add": "add tracklets of a features file, a data set, or a video with its tracks",
    "search": "find the nearest entries of a tracklet",
    "serve": "a page to search with, on this machine",
    "remove": "erase entries",
    "info": "what is in a gallery; checks its files",
    "compact": "merge the small files that many additions or removals leave",
}


def main(arguments: Sequence[str] | None = None, prog: str = "rgcn-jax gallery") -> None:
    """Run the subcommand given by the first argument.

    Raises:
      InputError: the subcommand is unknown, or raises it.
    """
    parser = Parser(
        prog,
        "Enrol tracklets and ask who looks and walks like somebody.",
        epilog="\n".join(f"  {name:<8} {does}" for name, does in DOES.items())
        + "\n\nCOMMAND --help lists the flags of each.",
    )
    parser.add_argument("command", choices=tuple(DOES), metavar="COMMAND", help="one of those below")
    given = list(arguments or [])
    command = parser.parse_args(given[:1] or ["--help"]).command
    run = {"remove": remove, "info": info, "compact": compact}
    if command not in run:  # these import the embedder, which is slow
        from rgcn_jax.gallery import add_command, search_command, serve_command

        run = {"add": add_command.main, "search": search_command.main, "serve": serve_command.main}
    run[command](given[1:], f"{prog} {command}")


def remove(arguments: Sequence[str], prog: str) -> None:
    """Erase the entries that satisfy all conditions."""
    parser = Parser(
        prog,
        "Erase the entries that fulfil all conditions: their features, what is known of them, and crops that the "
        "gallery has cut out of a video. Images elsewhere and earlier copies of the folder are not touched.",
    )
    flags.add_gallery_flag(parser)
    flags.add_filter_flags(parser)
    known = parser.parse_args(arguments)
    gallery = flags.open_gallery(known)
    removed = gallery.remove(flags.where_of(known))
    compact = ("rgcn-jax", "gallery", "compact", *flags.where_is(known))
    print(
        last_line(
            f"removed {flags.entries_text(removed)}, {known.gallery} has {flags.entries_text(gallery.count())} left",
            *compact,
        )
    )


def compact(arguments: Sequence[str], prog: str) -> None:
    """Merge small files."""
    parser = Parser(prog, "Merge the small files that many additions or removals leave.")
    flags.add_gallery_flag(parser)
    known = parser.parse_args(arguments)
    gallery = flags.open_gallery(known)
    segments = gallery.compact()
    info = ("rgcn-jax", "gallery", "info", *flags.where_is(known))
    parts = "1 segment" if segments == 1 else f"{segments} segments"
    print(last_line(f"{known.gallery}: {flags.entries_text(gallery.count())} in {parts}", *info))


def info(arguments: Sequence[str], prog: str) -> None:
    """Print the contents of a gallery and verify all of its files."""
    parser = Parser(prog, "What is in a gallery: its entries by camera and source, its model; checks all files.")
    flags.add_gallery_flag(parser)
    parser.switch("--list", "also print a line for every entry")
    parser.path("--model", "DIR", "also check that it is the gallery's model")
    known = parser.parse_args(arguments)
    gallery = flags.open_gallery(known)
    gallery.check()
    binding = gallery.binding
    if known.model:
        from rgcn_jax.saved_model import open_model

        if (found := open_model(known.model).hash) != binding["model"]:
            raise InputError(
                f"{known.gallery} belongs to the model {binding['model'][:16]}, {known.model} is {found[:16]}."
            )
    persons, cameras, sources, first = set(), Counter(), Counter(), None
    for i, entry in gallery.entries(EVERYTHING):
        first = i if first is None else first
        persons.add(entry.person_id)
        cameras[entry.camera_id] += 1
        sources[entry.source] += 1
        if known.list:
            where = f"person {entry.person_id}, camera {entry.camera_id}, {flags.time_text(entry.start)}"
            print(printable(f"{i}  {entry.source}  {entry.tracklet}  {where}"))
    settings = ", ".join(f"{name} {value}" for name, value in binding["settings"].items())
    print(f"{flags.entries_text(gallery.count())}, all files are intact; model {binding['model'][:16]}; {settings}")
    print(f"{sum(person > 0 for person in persons):,} named persons; cameras (0: unknown): ", end="")
    print(", ".join(f"{camera} ({count:,})" for camera, count in sorted(cameras.items())) or "none")
    for source, count in sorted(sources.items()):
        print(printable(f"  {count:>9,}  {source}"))
    model = f"--model={known.model or 'MODEL'}"
    search = ("search", *flags.where_is(known), model, f"--entry={first}", "--html=found.html")
    add = ("add", *flags.where_is(known), model, "--features=FILE.npz")
    print(last_line(f"gallery: {known.gallery}", "rgcn-jax", "gallery", *(add if first is None else search)))


if __name__ == "__main__":
    run_command(main, prog="python -m rgcn_jax.gallery")
