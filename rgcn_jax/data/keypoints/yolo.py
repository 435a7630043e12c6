"""Reader of Ultralytics' results (YOLO-pose): a folder of text files, as written by ``predict(..., save_txt=True)``.

A file ``<frame's stem>.txt`` has one line per person, with normalised coordinates in [0, 1]. A line has class and box,
then x, y and confidence of COCO's 17 keypoints. With ``save_conf=True``, the confidence of the box follows::

    0 0.50 0.48 0.61 0.93 0.512 0.101 0.98 0.530 0.083 0.97 ...

Frames without persons have no file. A keypoint below 0.5 is written as 0 0 and counts as not detected.
"""

from rgcn_jax.data.keypoints.frame_files import People, Program
from rgcn_jax.data.keypoints.numbers import people_array
from rgcn_jax.errors import InputError
from rgcn_jax.skeleton import SKELETONS

SUFFIX = ".txt"
_BOX = 5  # class, and the box's centre and size


def parse_yolo(text: bytes, skeleton: str | None = None) -> People:
    """Parse the persons of one label file, perhaps none: x, y (normalised coordinates) and confidence as stored.

    Args:
      text: contents of the file.
      skeleton: a key of ``SKELETONS``; None: COCO-17.

    Raises:
      InputError: with the reason only, without the file's name.
    """
    size = SKELETONS[skeleton or "coco17"]
    try:
        lines = [line.split() for line in text.decode("ascii").splitlines() if line.strip()]
        if any("_" in field for line in lines for field in line):
            raise ValueError("a number with _")  # Python would accept 1_0 as 10
        rows = [[float(field) for field in line] for line in lines]
    except ValueError as error:
        raise InputError("has something other than numbers, so Ultralytics did not write it") from error
    least = _BOX + 3 * size
    for row in rows:
        if len(row) not in (least, least + 1):
            what = "these are boxes without keypoints: predict with a -pose model" if len(row) <= _BOX + 1 else ""
            raise InputError(
                f"has a line of {len(row)} numbers, expected {least} or {least + 1}: class, box, and x, y, confidence "
                f"of {size} keypoints{what and f'; {what}'}"
            )
    people = people_array([row[_BOX:least] for row in rows])
    return People(people, skeleton or "coco17", skeleton is not None)


PROGRAM = Program("Ultralytics", "a YOLO-pose model", SUFFIX, parse_yolo, leaves_out=True)
