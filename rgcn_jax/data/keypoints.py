"""Keypoint files in, one table of the 14 keypoints of every frame out. Needs no TensorFlow.

Two forms are read. A folder of OpenPose JSON files, one a frame, BODY_25 or COCO-18, in pixels of the crop (OpenPose's
default, ``--keypoint_scale 0``); and a keypoint store, one ``.npz`` file with ``names`` [N] (paths of the frames
relative to the root, or their base names) and ``keypoints`` [N, 14, 3] (x and y in pixels of the crop, confidence).
Reading a store takes seconds, reading a million small files does not, so turn a folder into a store once::

    python -m rgcn_jax.data.keypoints --dataset=mars --root=MARS --keypoints=openpose --out=mars_keypoints.npz
"""

import argparse
import os
import struct
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int, Real
from tqdm import tqdm

from rgcn_jax.data.openpose import LARGEST, SUFFIX, read_folder
from rgcn_jax.types import InputError, Split, Tracklet


@dataclass(frozen=True)
class KeypointTable:
    """The keypoints of every frame of some tracklets, complete: a frame without a detected person has a row of zeros.

    ``values``: x and y as shares of the crop's width and height, in [0, 1], and the confidence as the detector gave it
    (OpenPose's is at times slightly above 1); (0, 0, 0) where not detected. ``rows``: path of a frame -> its row.
    """

    values: Float32[np.ndarray, "n 14 3"]
    rows: Mapping[str, int]

    def of(self, tracklet: Tracklet) -> Float32[np.ndarray, "f 14 3"]:
        """A copy of the rows of a tracklet's frames, in their order. KeyError: the table was not loaded for a frame."""
        try:
            return self.values[[self.rows[frame] for frame in tracklet.frames]]
        except KeyError as error:
            raise KeyError(f"no keypoints for frame {error}: the table holds other tracklets") from None


def load(path: str | os.PathLike[str], split: Split, tracklets: Iterable[Tracklet] | None = None) -> KeypointTable:
    """Read the keypoints of a data set from files.

    A keypoint outside of its crop, or with a confidence not above 0, counts as not detected; the border is inside.
    Of several people in a frame the one of ``choose_subject`` is taken.

    Args:
      path: a folder of OpenPose files, either flat (``<frame's name>_keypoints.json``) or in the folders of the frames
        (``bbox_train/0001/<frame's name>_keypoints.json``); or a keypoint store (``.npz``).
      split: the data set. Pixels become shares by its ``frame_size``, which is verified on the first frame of each
        tracklet where the image is there, else by the size in each image's header (JPEG or PNG).
      tracklets: whose keypoints are read; None: training, query and gallery, but not the junk.

    Raises:
      InputError: the path, a file, or what it holds is not as it must be, a frame has no keypoints, or the coordinates
        cannot be pixels of the crops. All files are read before bad ones are reported.
    """
    tracklets = [*split.train, *split.query, *split.gallery] if tracklets is None else list(tracklets)
    frames = _unique_frames(tracklets)
    sizes = _frame_sizes(split, tracklets, frames)
    pixels = read_pixels(path, frames, sizes)
    return KeypointTable(_shares(path, pixels, sizes), {frame: row for row, frame in enumerate(frames)})


def save(path: str | os.PathLike[str], names: Sequence[str], keypoints: Float32[np.ndarray, "n 14 3"]) -> None:
    """Write a keypoint store, compressed and at once: a run that is stopped leaves no half of one.

    Args:
      path: the ``.npz`` file; one that is there is replaced.
      names: paths of the N frames relative to the root, or their base names, each once.
      keypoints: x and y in pixels of the crop, confidence; (0, 0, 0) where not detected.

    Raises:
      InputError: the path does not end in ``.npz`` or cannot be written.
      ValueError: the numbers of names and keypoints differ, or a name is there twice.
    """
    path = Path(path)
    _check_store_path(path)
    if len(names) != len(keypoints) or len(set(names)) != len(names):
        raise ValueError(f"{len(names)} names, {len(set(names))} of them different, for {len(keypoints)} frames.")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            with part.open("xb") as file:
                np.savez_compressed(file, names=np.array(names, dtype=np.str_), keypoints=keypoints)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"The keypoint store {path} cannot be written ({error.strerror}).") from error


def _check_store_path(path: Path) -> None:
    if path.suffix != ".npz":
        raise InputError(f"A keypoint store must be called something.npz, found {path}: give such a name.")
    if not path.parent.is_dir():
        raise InputError(
            f"The keypoint store {path} cannot be written: there is no folder {path.parent}, make it first."
        )


def read_pixels(
    path: str | os.PathLike[str], frames: Sequence[str], sizes: Int[np.ndarray, "#n 2"]
) -> Float32[np.ndarray, "n 14 3"]:
    """Read what the files say of these frames: x and y in pixels of the crop, confidence.

    Args:
      path: as in ``load``.
      frames: paths relative to the root, each once.
      sizes: height and width in pixels, of each frame or one for all.

    Raises:
      InputError: as in ``load``, but for coordinates that cannot be pixels of the crops.
    """
    path = Path(path)
    if path.is_dir():
        return read_folder(path, frames, sizes)
    if path.is_file() and path.suffix == ".npz":
        return _read_store(path, frames)
    found = "this is a file of another kind" if path.exists() else "there is nothing of that name"
    raise InputError(
        f"Keypoints not found at {path}: expected a folder of OpenPose files (*{SUFFIX}) or a keypoint store "
        f"(.npz), but {found}."
    )


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Height and width in pixels from the header of a JPEG or PNG file. Raises InputError if there is none."""
    try:
        with Path(path).open("rb") as file:
            start = file.read(24)
            width = height = 0
            if start.startswith(b"\x89PNG\r\n\x1a\n"):
                width, height = struct.unpack(">II", start[16:])
            elif start.startswith(b"\xff\xd8"):
                file.seek(2)
                while (marker := file.read(4))[:1] == b"\xff" and len(marker) == 4:
                    if marker[1] == 0xFF:  # a fill byte before the marker
                        file.seek(-3, os.SEEK_CUR)
                    elif 0xC0 <= marker[1] <= 0xCF and marker[1] not in (0xC4, 0xC8, 0xCC):  # start of frame
                        _, height, width = struct.unpack(">BHH", file.read(5))
                        break
                    else:
                        file.seek(int.from_bytes(marker[2:]) - 2, os.SEEK_CUR)
            if width and height:
                return height, width
    except OSError as error:
        raise InputError(f"The image {path} cannot be read ({error.strerror}).") from error
    except struct.error:
        pass  # cut off within the header
    raise InputError(f"{path} is not a whole JPEG or PNG image: copy it from the data set again.")


def coverage(table: KeypointTable, tracklets: Iterable[Tracklet]) -> dict[int, Float[np.ndarray, "4"]]:
    """By camera the shares of frames with 0, 1 to 7, 8 to 13 and all 14 keypoints detected; a frame counts once."""
    detected = np.count_nonzero(table.values[..., 2] > 0, axis=1)
    kind = np.digitize(detected, [1, 8, 14])
    rows: dict[int, set[int]] = {}
    for tracklet in tracklets:
        rows.setdefault(tracklet.camera_id, set()).update(table.rows[frame] for frame in tracklet.frames)
    return {camera: np.bincount(kind[list(r)], minlength=4) / len(r) for camera, r in sorted(rows.items())}


def _unique_frames(tracklets: Iterable[Tracklet]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(frame for tracklet in tracklets for frame in tracklet.frames))


def _frame_sizes(split: Split, tracklets: Sequence[Tracklet], frames: Sequence[str]) -> Int[np.ndarray, "#n 2"]:
    """Height and width in pixels: one row for all frames if the data set has one size, else a row a frame."""
    if split.frame_size is None:
        sizes = [image_size(split.root / frame) for frame in tqdm(frames, "image sizes", disable=None, leave=False)]
        return np.array(sizes, np.int64).reshape(-1, 2)
    for tracklet in tracklets:
        image = split.root / tracklet.frames[0]
        if image.is_file() and (size := image_size(image)) != split.frame_size:
            raise InputError(
                f"{image} is {size[0]} x {size[1]} pixels (height x width), but every crop of {split.name} must be "
                f"{split.frame_size[0]} x {split.frame_size[1]}: use the images as they were distributed, "
                "and keypoints in pixels of these."
            )
    return np.array([split.frame_size], np.int64)


def _shares(
    path: str | os.PathLike[str], pixels: Float32[np.ndarray, "n 14 3"], sizes: Int[np.ndarray, "#n 2"]
) -> Float32[np.ndarray, "n 14 3"]:
    """Pixels as shares of width and height; zeros for what is outside of the crop or has no confidence."""
    values = pixels.copy()
    values[..., :2] /= sizes[:, None, ::-1]
    detected = values[..., 2] > 0
    inside = detected & np.all((values[..., :2] >= 0) & (values[..., :2] <= 1), axis=-1)
    if detected.any():
        if pixels[detected, :2].max() <= 1:
            raise InputError(
                f"{path}: no coordinate is above 1, so these are not pixels of the crops: multiply by each "
                "crop's width and height, or run OpenPose with --keypoint_scale 0."
            )
        if 2 * np.count_nonzero(inside) < np.count_nonzero(detected):
            raise InputError(
                f"{path}: {1 - np.count_nonzero(inside) / np.count_nonzero(detected):.0%} of the keypoints lie outside "
                "of their crops, so they are pixels of other pictures (the whole video, or crops of another size): "
                "detect them on the crops themselves."
            )
    return np.where(inside[..., None], values, np.float32(0))


def _read_store(path: Path, frames: Sequence[str]) -> Float32[np.ndarray, "n 14 3"]:
    names, keypoints = _open_store(path)
    if len(set(names)) < len(names):
        seen: set[str] = set()
        twice = next(name for name in names if name in seen or seen.add(name))
        raise InputError(f"{path}: the frame {twice} is in it twice: write the keypoint store again.")
    rows = {name: row for row, name in enumerate(names)}
    by_path = any("/" in name for name in names)
    wanted = frames if by_path else [frame.rpartition("/")[2] for frame in frames]
    if len(set(wanted)) < len(wanted):
        raise InputError(
            f"{path} names frames by base names, but these are not unique in this data set: write it with paths "
            "relative to the data set's root."
        )
    absent = [i for i, name in enumerate(wanted) if name not in rows]
    if absent:
        raise InputError(
            f"Keypoints are missing in {path} for {len(absent):,} of the {len(frames):,} frames; the first is "
            f"{frames[absent[0]]}, looked for as {wanted[absent[0]]}, while the store has names like "
            f"{names[0] if names else '(none)'}: add these frames, with zeros where nobody was found."
        )
    chosen = keypoints[[rows[name] for name in wanted]]
    wrong = np.flatnonzero(~np.all(np.abs(chosen) <= LARGEST, axis=(1, 2)))
    if len(wrong):
        raise InputError(
            f"{path}: the keypoints of {len(wrong):,} of the {len(frames):,} frames have a number that is not finite "
            f"or above 1e6; the first is {frames[wrong[0]]}: write zeros where a keypoint was not found."
        )
    return np.where(chosen[..., 2:] > 0, chosen, 0).astype(np.float32)


def _open_store(path: Path) -> tuple[list[str], Real[np.ndarray, "n 14 3"]]:
    try:
        with np.load(path, allow_pickle=False) as store:
            arrays = {name: store[name] for name in ("names", "keypoints") if name in store}
            found = ", ".join(store) or "nothing"
    except Exception as error:  # a damaged archive raises nearly anything
        raise InputError(
            f"The keypoint store {path} cannot be read ({type(error).__name__}: {error}), it may be cut off: "
            "write it again."
        ) from error
    if len(arrays) < 2:
        raise InputError(f"The keypoint store {path} must hold names and keypoints, found {found}.")
    names, keypoints = arrays["names"], arrays["keypoints"]
    numeric = keypoints.dtype.kind in "fiu"
    if names.ndim != 1 or names.dtype.kind != "U" or not numeric or keypoints.shape != (len(names), 14, 3):
        raise InputError(
            f"The keypoint store {path} must hold names [N], text, and keypoints [N, 14, 3], numbers; found names "
            f"{list(names.shape)} of {names.dtype} and keypoints {list(keypoints.shape)} of {keypoints.dtype}."
        )
    return names.tolist(), keypoints


def main(arguments: Sequence[str] | None = None) -> int:
    """Turn a folder of OpenPose files into a keypoint store and print what was detected; return the exit status."""
    from rgcn_jax.data.open import FOLDERS  # which itself imports this file

    parser = argparse.ArgumentParser(prog="python -m rgcn_jax.data.keypoints", description=main.__doc__)
    parser.add_argument("--dataset", required=True, choices=sorted(FOLDERS), help="which layout the root has")
    parser.add_argument("--root", required=True, type=Path, help="folder of the data set")
    parser.add_argument("--keypoints", required=True, type=Path, help="folder of OpenPose files")
    parser.add_argument("--out", required=True, type=Path, help="keypoint store to write, .npz")
    options = parser.parse_args(arguments)
    try:
        _check_store_path(options.out)
        split = FOLDERS[options.dataset](options.root)
        tracklets = tuple(dict.fromkeys((*split.train, *split.query, *split.gallery, *split.junk)))
        frames = _unique_frames(tracklets)
        sizes = _frame_sizes(split, tracklets, frames)
        pixels = read_pixels(options.keypoints, frames, sizes)
        table = KeypointTable(_shares(options.keypoints, pixels, sizes), {f: i for i, f in enumerate(frames)})
        save(options.out, frames, pixels)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.out}: {len(frames):,} frames. Share of the frames with so many of the 14 keypoints:")
    print("camera        0    1-7   8-13     14")
    for camera, shares in coverage(table, tracklets).items():
        print(f"{camera:6d} " + " ".join(f"{share:6.1%}" for share in shares))
    return 0


if __name__ == "__main__":
    sys.exit(main())
