"""Choice of the subject, the person shown by a crop, among several detected persons."""

import numpy as np
from jaxtyping import Bool, Float, Float64, Int


def subject_scores(
    people: Float[np.ndarray, "p 14 3"], heights: Int[np.ndarray, "#p"], widths: Int[np.ndarray, "#p"]
) -> Float64[np.ndarray, "p"]:
    """Score of each person as the subject of its crop; the subject has the highest score.

    The score is the sum over keypoints inside the crop of confidence * (1 - |2 x / width - 1|). A keypoint on the
    vertical centre line has full weight, and one at the left or right border has none. Bystanders are cut off by the
    border, so they have fewer keypoints, and these are off centre. (Decision: the paper does not state its choice.)

    Args:
      people: x and y in pixels, and confidence.
      heights: height of each person's crop in pixels, or one for all.
      widths: widths of the crops, in pixels.
    """
    x, y, confidence = np.moveaxis(people.astype(np.float64), -1, 0)
    width, height = widths[:, None], heights[:, None]
    inside = (x >= 0) & (x <= width) & (y >= 0) & (y <= height) & (confidence > 0)
    return np.sum(np.where(inside, confidence * (1 - np.abs(2 * x / width - 1)), 0.0), axis=1)


def choose_subject(people: Float[np.ndarray, "p 14 3"], height: int, width: int) -> int:
    """Index of the subject among one or more persons of a crop; the first one in case of a tie."""
    return int(np.argmax(subject_scores(people, np.array([height]), np.array([width]))))


def choose_subjects(
    people: Float[np.ndarray, "p 14 3"], frame: Int[np.ndarray, "p"], sizes: Int[np.ndarray, "#n 2"], number: int
) -> tuple[Int[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
    """For each of ``number`` frames, return the index of its subject (0 without persons), and whether there are
    persons.

    Args:
      people: persons of all frames, in the order of the file.
      frame: frame of each person, from 0.
      sizes: height and width of the crop in pixels, for each frame or one for all.
      number: number of frames.
    """
    heights, widths = np.broadcast_to(sizes, (number, 2))[frame].reshape(-1, 2).T
    scores = subject_scores(people, heights, widths)
    best_first = np.lexsort((np.arange(len(people)), -scores, frame))
    found, first = np.unique(frame[best_first], return_index=True)
    chosen = np.zeros(number, np.int64)
    chosen[found] = best_first[first]
    return chosen, np.isin(np.arange(number), found)
