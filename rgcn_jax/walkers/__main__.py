"""The command ``rgcn-jax walkers``, also ``python -m rgcn_jax.walkers``: write the synthetic data set to disk.

It has the layout of a real data set. The command also draws a contact sheet.
"""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import fields

import cv2

from rgcn_jax.command import Parser, last_line, run_command
from rgcn_jax.errors import InputError
from rgcn_jax.walkers.contact_sheet import contact_sheet
from rgcn_jax.walkers.generation import generate
from rgcn_jax.walkers.layouts import LAYOUTS
from rgcn_jax.walkers.spec import WalkersSpec
from rgcn_jax.walkers.write import write


def main(arguments: Sequence[str] | None = None, prog: str = "rgcn-jax walkers") -> None:
    """Generate walkers, and write them as a data set, draw a contact sheet, or both.

    Raises ``InputError`` for invalid arguments, and if a file or folder cannot be written.
    """
    options = _parse(arguments, prog)
    walkers = generate(WalkersSpec(**{field.name: getattr(options, field.name) for field in fields(WalkersSpec)}))
    if (file := options.contact_sheet) is not None:
        if file.suffix.lower() not in (".png", ".jpg"):
            raise InputError(f"--contact-sheet={file}: expected a .png or .jpg file.")
        if not file.parent.is_dir() or not cv2.imwrite(str(file), contact_sheet(walkers)[..., ::-1]):
            raise InputError(
                f"the contact sheet {file} cannot be written: check that its folder exists and is writable."
            )
        print(last_line(f"contact sheet: {file}", "rgcn-jax", "train", "--config=walkers"))
    if options.out is not None:
        images = write(walkers, options.out, options.layout, options.image_height, options.image_width)
        wrote = f"wrote {images:,} images and as many OpenPose files in the layout {options.layout} to {options.out}"
        read = (f"--dataset={options.layout}", f"--root={options.out}", f"--keypoints={options.out}/openpose")
        print(last_line(wrote, "rgcn-jax", "prepare", *read, "--out=prepared"))


def _parse(arguments: Sequence[str] | None, prog: str) -> Namespace:
    parser = Parser(
        prog,
        "Generate walking persons in groups of look-alikes that differ only in pose, and write them as a person "
        "re-identification data set with OpenPose keypoints, or draw a contact sheet.",
    )
    parser.path("--out", "DIR", "folder to write the data set to; new or empty")
    parser.flag(
        "--layout", "data set whose folders, names and lists to imitate", choices=tuple(LAYOUTS), default="mars"
    )
    parser.whole("--image-height", "height of the crops in pixels", default=256)
    parser.whole("--image-width", "width of the crops in pixels", default=128)
    parser.path("--contact-sheet", "FILE.png", "image file for one group of look-alikes")
    for field in fields(WalkersSpec):
        kind, name = type(field.default), f"--{field.name.replace('_', '-')}"
        metavar = "N" if kind is int else "X"
        parser.flag(name, field.metadata["help"], type=kind, default=field.default, metavar=metavar)
    options = parser.parse_args(arguments)
    if options.out is None and options.contact_sheet is None:
        parser.error("nothing to do: expected --out=DIR, --contact-sheet=FILE.png or both")
    return options


if __name__ == "__main__":
    run_command(main, prog="python -m rgcn_jax.walkers")
