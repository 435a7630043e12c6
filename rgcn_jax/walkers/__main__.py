"""``python -m rgcn_jax.walkers``: writes walkers in the layout of a real data set, or draws a contact sheet of them."""

import argparse
import sys
from dataclasses import fields
from pathlib import Path

import cv2

from rgcn_jax.command import path_argument
from rgcn_jax.errors import InputError, printable
from rgcn_jax.walkers.contact_sheet import contact_sheet
from rgcn_jax.walkers.generate import generate
from rgcn_jax.walkers.layouts import LAYOUTS
from rgcn_jax.walkers.spec import WalkersSpec
from rgcn_jax.walkers.write import write


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m rgcn_jax.walkers",
        description="Generates people who walk, in look-alike groups that only their pose tells apart, and writes them "
        "as a person re-identification data set with OpenPose keypoints, or draws a contact sheet.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--out", type=path_argument, metavar="DIR", help="folder to write the data set to; new or empty"
    )
    parser.add_argument(
        "--layout", choices=tuple(LAYOUTS), default="mars", help="folders, names and lists of which data set"
    )
    parser.add_argument("--image_height", type=int, default=256, help="height of the crops in pixels")
    parser.add_argument("--image_width", type=int, default=128, help="width of the crops in pixels")
    parser.add_argument(
        "--contact_sheet", type=path_argument, metavar="FILE.png", help="picture of one look-alike group to draw"
    )
    for field in fields(WalkersSpec):
        parser.add_argument(
            f"--{field.name}", type=type(field.default), default=field.default, help=field.metadata["help"]
        )
    return parser


def _run(arguments: argparse.Namespace):
    spec = WalkersSpec(**{field.name: getattr(arguments, field.name) for field in fields(WalkersSpec)})
    if arguments.image_height < 1 or arguments.image_width < 1:
        raise InputError(
            "image_height and image_width must be positive: "
            f"found {arguments.image_height} and {arguments.image_width}."
        )
    walkers = generate(spec)
    if arguments.contact_sheet is not None:
        file: Path = arguments.contact_sheet
        if file.suffix.lower() not in (".png", ".jpg"):
            raise InputError(f"--contact_sheet must name a .png or .jpg file: found {file}.")
        if not file.parent.is_dir() or not cv2.imwrite(str(file), contact_sheet(walkers)[..., ::-1]):
            raise InputError(f"cannot write the contact sheet {file}: check that its folder exists and can be written.")
        print(f"wrote {file}")
    if arguments.out is not None:
        images = write(walkers, arguments.out, arguments.layout, arguments.image_height, arguments.image_width)
        print(f"wrote {images:,} images and as many OpenPose files in the layout {arguments.layout} to {arguments.out}")


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns the exit status, 2 where the user has to mend something."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.out is None and arguments.contact_sheet is None:
        parser.error("nothing to do: give --out=DIR, --contact_sheet=FILE.png or both")
    try:
        _run(arguments)
    except InputError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
