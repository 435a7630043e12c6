"""Outfits: clothes, bag, hair and skin of a person."""

import colorsys
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Int64

from rgcn_jax.walkers.spec import WalkersSpec

RGB = tuple[int | float, int | float, int | float]
"""A colour with components from 0 to 255."""

_SKINS = ((244, 208, 177), (229, 184, 143), (198, 146, 105), (150, 103, 70), (101, 67, 45))
_HAIRS = ((32, 26, 24), (66, 44, 30), (112, 78, 44), (192, 158, 96), (140, 62, 32), (150, 150, 152))
_CLOTHS = 24  # number of colours of tops and bags: hues and greys
_TROUSERS = (
    (38, 48, 84),
    (70, 98, 142),
    (34, 34, 38),
    (92, 92, 96),
    (150, 132, 96),
    (196, 180, 146),
    (86, 60, 42),
    (74, 84, 52),
    (120, 40, 48),
)
_SHOES = ((30, 28, 28), (236, 236, 232), (104, 68, 42), (176, 38, 42), (60, 90, 150))


@dataclass(frozen=True, slots=True)
class Outfit:
    """Clothes with hair, skin and bag, shared by look-alikes."""

    skin: RGB
    hair: RGB
    hair_style: Literal["short", "long", "bun", "bald", "cap"]
    top: RGB
    second: RGB
    """Second colour: of stripes, logo, shirt below an open jacket, and cap."""
    top_style: Literal["plain", "stripes", "logo", "open"]
    long_sleeves: bool
    coat: bool
    """Whether the top reaches to the middle of the thighs."""
    bottom: RGB
    bottom_style: Literal["trousers", "shorts", "skirt"]
    shoes: RGB
    bag: Literal["none", "backpack", "shoulder"]
    bag_colour: RGB


def _cloth(index: int) -> RGB:
    """One of ``_CLOTHS`` evenly distributed colours."""
    if index < 5:
        grey = 245.0 - 50 * index
        return (grey, grey, grey)
    hue, tone = divmod(index - 5, 2)
    r, g, b = colorsys.hsv_to_rgb(hue / 10 + 0.02, 0.68 if tone else 0.52, 0.52 if tone else 0.86)
    return (255 * r, 255 * g, 255 * b)


def _draw(rng: np.random.Generator) -> Outfit:
    top, second, bag = (_cloth(int(i)) for i in rng.choice(_CLOTHS, 3, replace=False))
    coat = bool(rng.random() < 0.2)
    return Outfit(
        skin=_SKINS[rng.integers(len(_SKINS))],
        hair=_HAIRS[rng.integers(len(_HAIRS))],
        hair_style=("short", "long", "bun", "bald", "cap")[rng.choice(5, p=(0.42, 0.28, 0.1, 0.08, 0.12))],
        top=top,
        second=second,
        top_style=("plain", "stripes", "logo", "open")[rng.choice(4, p=(0.3, 0.25, 0.2, 0.25))],
        long_sleeves=coat or bool(rng.random() < 0.6),
        coat=coat,
        bottom=_TROUSERS[rng.integers(len(_TROUSERS))],
        bottom_style=("trousers", "shorts", "skirt")[rng.choice(3, p=(0.65, 0.18, 0.17))],
        shoes=_SHOES[rng.integers(len(_SHOES))],
        bag=("none", "backpack", "shoulder")[rng.choice(3, p=(0.5, 0.25, 0.25))],
        bag_colour=bag,
    )


def _difference(a: Outfit, b: Outfit) -> float:
    """Dissimilarity of two outfits: differences of the large colour areas, plus constants for another cut or bag."""
    colours = np.array([a.top, a.bottom]) - np.array([b.top, b.bottom])
    cuts = sum(
        getattr(a, name) != getattr(b, name) for name in ("bottom_style", "top_style", "long_sleeves", "coat", "bag")
    )
    return float(np.linalg.norm(colours, axis=1).sum() + 15.0 * cuts)


def draw_outfits(rng: np.random.Generator, count: int) -> list[Outfit]:
    """Draw ``count`` distinct outfits, each the one of twelve random candidates that differs most from the previous
    ones.
    """
    outfits: list[Outfit] = []
    while len(outfits) < count:
        candidates = [_draw(rng) for _ in range(12)]
        outfits.append(max(candidates, key=lambda c: min((_difference(c, o) for o in outfits), default=0.0)))
    return outfits


def draw_changes(
    rng: np.random.Generator, people: int, spec: WalkersSpec
) -> Int64[np.ndarray, "people cameras tracklets"]:
    """Index of the outfit, from 0, that a person wears in each tracklet of each camera: a random order of all,
    repeated.
    """
    shape = people, spec.cameras, spec.outfits_per_identity
    orders = rng.permuted(np.broadcast_to(np.arange(spec.outfits_per_identity), shape), axis=2)
    return orders[:, :, np.arange(spec.tracklets_per_camera) % spec.outfits_per_identity]


def change_clothes(before: Outfit, after: Outfit) -> Outfit:
    """Combine clothes and bag of ``after`` with skin, hair and hairstyle of ``before``."""
    return replace(after, skin=before.skin, hair=before.hair, hair_style=before.hair_style)
