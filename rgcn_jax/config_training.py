"""The sections ``loss`` and ``optimizer`` of the typed config: the objective, the update and the learning rate."""

from dataclasses import dataclass

from rgcn_jax.fields import setting

TRIPLET_FEATURES = ("raw", "neck")
"""What a triplet loss may be taken of: a branch's feature, or that standardised."""


@dataclass(frozen=True)
class LossConfig:
    """The objective, eq. 15 to 19."""

    margin: str | float = setting(
        0.3,
        "delta of the triplets, or soft: log(1 + exp(positive - negative)) instead of max(0, delta + positive - "
        "negative); not in the paper.",
        choices=("soft",),
        minimum=0,
    )
    pose_triplet: str = setting(
        "raw",
        "The pose triplet is of f_p as it is, or neck: of f_p with each dimension standardised over the batch; not in "
        "the paper.",
        choices=TRIPLET_FEATURES,
    )
    appearance_triplet: str = setting(
        "raw", "The same choice for f_a in the appearance triplet.", choices=TRIPLET_FEATURES
    )
    triplet_distance: str = setting(
        "euclidean",
        "Of the triplets: Euclidean, or cosine, 1 - cos; not in the paper.",
        choices=("euclidean", "cosine"),
    )
    label_smoothing: float = setting(0.1, "Of the identity loss.", minimum=0, maximum=1)
    appearance_weight: str | float = setting(
        "adaptive",
        "lambda of eq. 19, the weight of the appearance triplet; the pose triplet has the rest (table VII).",
        choices=("adaptive",),
        minimum=0,
        maximum=1,
    )
    weight_gradient: bool = setting(False, "Let the gradient through the adaptive lambda.")


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam with coupled L2."""

    learning_rate: float = setting(3e-4, "At the beginning, after the warm-up.", minimum=0)
    schedule: str = setting(
        "step",
        "step: times decay_factor every decay_every_epochs. cosine: half a cosine down to final_factor times the "
        "learning rate at the last step, which num_epochs and num_steps decide; not in the paper.",
        choices=("step", "cosine"),
    )
    decay_factor: float = setting(
        0.1, "Of the learning rate at each decay of the schedule step.", minimum=1e-9, maximum=1
    )
    decay_every_epochs: int = setting(200, "Epochs between decays of the schedule step; 0: constant.", minimum=0)
    final_factor: float = setting(0.01, "Where the schedule cosine ends.", minimum=0, maximum=1)
    warmup_epochs: int = setting(0, "Over which the learning rate grows from a hundredth; not in the paper.", minimum=0)
    weight_decay: float = setting(5e-4, "L2, added to the gradient.", minimum=0)
    pose_factor: float = setting(
        1.0,
        "Adam's update of the pose branch (encoder, readout, keypoint embedding, pose neck) times this; not in the "
        "paper, and without effect where there is no pose branch.",
        minimum=0,
    )
