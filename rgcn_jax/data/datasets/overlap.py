"""Check for identity overlap: pretrained weights that were trained on the test persons of a data set."""

from pathlib import PurePath


def pretrained_overlap(data_set: str, weights: str) -> str:
    """Return a warning if weights were, according to their file name, trained on test persons of the data set; else "".

    Args:
      data_set: name of the data set, ``data.name``.
      weights: path of the weights, ``model.pretrained``.

    Example::

        >>> pretrained_overlap("mars", "weights/osnet_Market1501.pth")[:37]
        'warning: by their name, osnet_Market1'
    """
    file = PurePath(weights).name
    if data_set == "mars" and "market" in file.lower():
        return (
            f"warning: by their name, {file} are weights trained on Market-1501, whose training set holds 48 % of the "
            "persons that MARS tests on: scores will be too good; start from ImageNet's weights."
        )
    return ""
