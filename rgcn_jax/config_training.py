"""The sections ``loss`` and ``optimizer`` of the typed config: objective, optimiser and learning rate."""

from dataclasses import dataclass

from rgcn_jax.fields import setting

TRIPLET_FEATURES = ("raw", "neck")
"""Features that a triplet loss may take: those of a branch, or the same standardised over the batch."""


@dataclass(frozen=True)
class LossConfig:
    """The training objective, eq. 15 to 19."""

    margin: str | float = setting(
        0.3,
        "Triplet margin delta, or soft: log(1 + exp(positive - negative)) instead of max(0, delta + positive - "
        "negative); not in the paper.",
        choices=("soft",),
        minimum=0,
    )
    pose_triplet: str = setting(
        "raw",
        "Features of the pose triplet. raw: f_p. neck: f_p with each dimension standardised over the batch; not in "
        "the paper.",
        choices=TRIPLET_FEATURES,
    )
    appearance_triplet: str = setting(
        "raw", "Features of the appearance triplet: the same choice for f_a.", choices=TRIPLET_FEATURES
    )
    triplet_distance: str = setting(
        "euclidean",
        "Distance of the triplet losses: Euclidean, or cosine, 1 - cos; not in the paper.",
        choices=("euclidean", "cosine"),
    )
    label_smoothing: float = setting(0.1, "Label smoothing of the identity loss.", minimum=0, maximum=1)
    appearance_weight: str | float = setting(
        "adaptive",
        "lambda of eq. 19, the weight of the appearance triplet; the pose triplet has 1 - lambda (table VII).",
        choices=("adaptive",),
        minimum=0,
        maximum=1,
    )
    weight_gradient: bool = setting(False, "Backpropagate through the adaptive lambda.")


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam with L2 regularisation added to the gradient."""

    learning_rate: float = setting(3e-4, "Initial learning rate, after the warm-up.", minimum=0)
    schedule: str = setting(
        "step",
        "Learning-rate schedule. step: times decay_factor every decay_every_epochs. cosine: half a cosine down to "
        "final_factor times the learning rate at the last step; not in the paper.",
        choices=("step", "cosine"),
    )
    decay_factor: float = setting(
        0.1, "Factor of the learning rate at each decay of the schedule step.", minimum=1e-9, maximum=1
    )
    decay_every_epochs: int = setting(200, "Epochs between decays of the schedule step; 0: constant.", minimum=0)
    final_factor: float = setting(
        0.01, "Final factor of the learning rate in the schedule cosine.", minimum=0, maximum=1
    )
    warmup_epochs: int = setting(
        0, "Epochs of linear warm-up from a hundredth of the learning rate; not in the paper.", minimum=0
    )
    weight_decay: float = setting(5e-4, "L2 coefficient, added to the gradient.", minimum=0)
    pose_factor: float = setting(
        1.0,
        "Factor of Adam's update of the pose branch (encoder, readout, keypoint embedding, pose neck); not in the "
        "paper, and without effect without a pose branch.",
        minimum=0,
    )
