"""Sizes of the parts: the paper's, and toy sizes for a rehearsal on a CPU."""

from dataclasses import dataclass

from benchmarks.step_case import Sizes


@dataclass(frozen=True)
class Scale:
    """``step``: sizes of the training step. ``clips``, ``frames``, ``features``: sizes of a pose model alone.
    ``rankings``: numbers of queries, entries (including queries) and dimensions of f_a and f_p. ``micro_batches``:
    micro-batches of a step. ``steps``, ``calls``: number of repetitions. ``kinds``: kinds of PyTorch steps.
    """

    step: Sizes
    clips: int
    frames: int
    features: int
    rankings: tuple[tuple[int, int, int, int], ...]
    micro_batches: tuple[int, ...]
    steps: int
    calls: int
    kinds: tuple[str, ...] = ("PyTorch", "torch.compile")


FULL = Scale(
    step=Sizes(32, 10, 256, 128, "bfloat16", model={"last_stride": 1, "stage_sizes": (3, 4, 6, 3), "width": 64}),
    clips=32,
    frames=10,
    features=256,
    rankings=((1980, 11_310, 2048, 512), *((queries, 500_000, 256, 256) for queries in (100, 1000, 10_000))),
    micro_batches=(1, 2, 4),
    steps=20,
    calls=20,
)

TOY = Scale(
    step=Sizes(4, 2, 32, 16, "bfloat16", model={"last_stride": 1, "stage_sizes": (1, 1), "width": 4}),
    clips=2,
    frames=3,
    features=16,
    rankings=((20, 200, 16, 8), (20, 1000, 16, 8)),
    micro_batches=(1, 2),
    steps=2,
    calls=2,
)
