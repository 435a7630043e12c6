"""The typed config: every setting of a run, with its default, meaning, range and whether it may change on resume.

Defaults are the paper's recipe (section IV-A) where the paper gives one. Users edit a ``ConfigDict`` made of them
(``default_config``, the files of ``configs/``) and override it on the command line; ``config_io.typed`` turns that into
a ``Config`` once, at the entry point.
"""

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from rgcn_jax.config_augment import AugmentConfig
from rgcn_jax.config_evaluation import EvaluationConfig
from rgcn_jax.config_training import LossConfig, OptimizerConfig
from rgcn_jax.fields import setting
from rgcn_jax.walkers.spec import WalkersSpec

if TYPE_CHECKING:  # a program that trains on arrays does without ml_collections
    import ml_collections

DATA_SETS = ("walkers", "mars", "dukemtmc_vidreid", "ilids_vid", "prid2011", "ls_vid", "ccvid", "mevid", "folder")
"""Names of ``data.name``."""

RECURRENT_ENCODERS = ("RGCN", "LGCN")
"""The paper's pose encoders, in which nothing but a ReLU stands between graph and recurrence."""

LAYERED_ENCODERS = (*RECURRENT_ENCODERS, "GCNRNN", "GCNLSTM")
"""Pose encoders whose number of graph layers can be chosen."""

POSITIONS, ADDITIONS = ("crop", "centred"), ("confidence", "velocity", "bones")
"""What ``model.pose_input`` begins with, and what may be added to it."""


@dataclass(frozen=True)
class BatchConfig:
    """P x K clips, and in how many steps of computation."""

    identities: int = setting(8, "P: identities in a batch.", minimum=1)
    clips_per_identity: int = setting(4, "K: clips of each.", minimum=1)
    micro_batches: int = setting(
        1, "Compute each device's clips in so many micro-batches, one after another, to save memory.", minimum=1
    )
    max_frame_stride: int = setting(
        8, "A training clip takes every s-th frame, s uniform in 1 to this where it fits.", minimum=1
    )

    @property
    def clips(self) -> int:
        """P x K."""
        return self.identities * self.clips_per_identity


@dataclass(frozen=True)
class DataConfig:
    """The data set and its keypoints."""

    name: str = setting("", "The data set.", choices=DATA_SETS)
    root: str = setting(
        "", "Its folder, as distributed or as `rgcn-jax prepare` wrote it. Unused by walkers.", may_change=True
    )
    split: int = setting(
        1, "Split number, from 1: iLIDS-VID and PRID2011 have ten published splits, the others one.", minimum=1
    )
    keypoints: str = setting(
        "",
        "Files of a pose detector or a keypoint store (docs/keypoints.md). Empty for prepared data.",
        may_change=True,
    )
    features: str = setting(
        "", 'An .npz file with f_a of every tracklet, for model.appearance "precomputed".', may_change=True
    )
    follow_links: bool = setting(False, "Follow symbolic links that lead out of data.root.", may_change=True)
    walkers: WalkersSpec = field(default_factory=WalkersSpec)


@dataclass(frozen=True)
class ModelConfig:
    """The two branches."""

    appearance: str = setting(
        "AP",
        "Appearance model, over frames: average pooling, attention (AA-conv: that of Video-Person-ReID), recurrent; "
        "BiCnet-TKS; or f_a precomputed elsewhere (data.features). none: pose only, no frame is read.",
        choices=("AP", "AA", "AA-conv", "RA", "BiC", "precomputed", "none"),
        plugin=True,
    )
    pose: str = setting(
        "RGCN",
        "Pose encoder; none: appearance only. STGCN-compat: the partition of ST-GCN's released code.",
        choices=("none", *LAYERED_ENCODERS, "STGCN", "STGCN-compat", "EvolveGCN-O", "EvolveGCN-H"),
        plugin=True,
    )
    readout: str = setting(
        "DAM", "Dual, node or time attention, or the mean.", choices=("DAM", "NAM", "TAM", "mean"), plugin=True
    )
    pose_features: int = setting(512, "Dimensions of f_p; a node has half of them under DAM, else all.", minimum=1)
    graph_layers: int = setting(1, "L of eq. 7, for RGCN, LGCN, GCNRNN and GCNLSTM.", minimum=1)
    graph_relu_each_layer: bool = setting(False, "A ReLU after every graph layer; the paper prints one outside.")
    graph_self: bool = setting(
        False,
        "Each graph layer sees [Z, A_hat Z] instead of A_hat Z, which damps what distinguishes a keypoint from its "
        "neighbours; not in the paper.",
    )
    product: bool = setting(
        False, "RGCN and LGCN: a product with a matrix P between graph and recurrence; not in the paper."
    )
    pose_input: str = setting(
        "centred",
        'Coordinates: "crop" (the paper: normalised by the crop) or "centred" (at the hips, in torso lengths); then '
        'any of "+confidence", "+velocity", "+bones".',
    )
    pose_fill: bool = setting(
        False,
        "Fill gaps of a keypoint inside a clip linearly, its ends by the nearest; else a missing keypoint is 0. Not in "
        "the paper.",
    )
    pose_norm: bool = setting(
        False,
        "Standardise each coordinate of each keypoint by running statistics of where it was seen; not in the paper.",
    )
    keypoint_embedding: int = setting(0, "Learned channels that tell the keypoints apart; not in the paper.", minimum=0)
    dropout: float = setting(0.0, "In the blocks of ST-GCN.", minimum=0, maximum=0.99)
    neck: str = setting(
        "none",
        "batchnorm: the classifier sees normalised features, the triplets the raw ones. batchnorm_all: triplets and "
        "retrieval, too, see them, with a learned scale and offset (BiCnet-TKS).",
        choices=("none", "batchnorm", "batchnorm_all"),
    )
    batch_norm_variance: str = setting(
        "biased",
        "Estimate of the running variances, of which evaluation alone sees anything: biased (Flax) or unbiased "
        "(PyTorch).",
        choices=("biased", "unbiased"),
    )
    stage_sizes: tuple[int, ...] = setting((3, 4, 6, 3), "Blocks of each stage of the ResNet; ResNet-50's.")
    width: int = setting(64, "Channels of the first stage, before expansion.", minimum=1)
    last_stride: int = setting(
        1, "Of the last stage: 1 is the field's convention, 2 the classification network's.", minimum=1, maximum=2
    )
    pooling: str = setting("mean", "Of the last map.", choices=("mean", "max"))
    remat: str = setting(
        "none",
        "Rematerialisation: blocks computes the trunk's blocks again in the backward pass; less memory, more time.",
        choices=("none", "blocks"),
        may_change=True,
    )
    pretrained: str = setting(
        "",
        "A ResNet-50 of torchvision, timm or a ReID project, or BiCnet-TKS (docs/pretrained.md). Empty: random.",
        may_change=True,
    )
    init_from: str = setting(
        "",
        "Folder of a run whose best weights (else its latest) to begin with, but for the classifier; instead of "
        "pretrained.",
        may_change=True,
    )
    pose_pretrained: str = setting(
        "",
        "A trained pose branch to begin with: walkers-gait, which is in the package (docs/gait.md), a model folder or "
        "the folder of a run; its pose fields of model must be the same.",
        may_change=True,
    )


@dataclass(frozen=True)
class ParallelConfig:
    """Devices."""

    num_devices: int = setting(
        0, "Devices to use; 0: all. Several processes use all of theirs.", minimum=0, may_change=True
    )
    batch_norm: str = setting(
        "global",
        "global: batch statistics over all clips of a batch; device: over each device's clips, as PyTorch's "
        "DataParallel has it.",
        choices=("global", "device"),
    )


@dataclass(frozen=True)
class Config:
    """All settings of a run."""

    seed: int = setting(0, "Of initialisation and of every batch.", minimum=0, maximum=2**31 - 1)
    num_epochs: int = setting(800, "An epoch is one pass over the training identities.", minimum=0, may_change=True)
    num_steps: int = setting(
        0, "Stops there instead of after num_epochs; 0: num_epochs decides.", minimum=0, may_change=True
    )
    eval_every_epochs: int = setting(100, "And at the end; 0: at the end only.", minimum=0, may_change=True)
    checkpoint_every_steps: int = setting(1000, "And at each evaluation and at the end.", minimum=0, may_change=True)
    log_every_steps: int = setting(20, "Steps between records of metrics.jsonl.", minimum=0, may_change=True)
    tracker: str = setting(
        "none",
        "wandb, mlflow: log there, too (docs/tracking.md).",
        choices=("none", "wandb", "mlflow"),
        may_change=True,
    )
    on_nonfinite: str = setting(
        "stop",
        "A step with a NaN or Inf in loss or gradient: stop, with its batch listed; or skip the step and count it.",
        choices=("stop", "skip"),
        may_change=True,
    )
    allow_config_change: bool = setting(
        False, "Resume a run of another config; what changed is printed and recorded.", may_change=True
    )
    profile_steps: str = setting("", 'Steps to profile, such as "100:110" (docs/performance.md).', may_change=True)
    compilation_cache: bool = setting(
        True, "Keep compiled programs in the user's cache, ~/.cache/rgcn_jax/compiled.", may_change=True
    )
    frames_per_clip: int = setting(10, "T.", minimum=1)
    image_height: int = setting(256, "Of the frames that the model sees, in pixels.", minimum=1)
    image_width: int = setting(128, "Of the frames that the model sees, in pixels.", minimum=1)
    dtype: str = setting(
        "float32",
        "Of the computation; parameters, statistics, recurrence and losses stay float32.",
        choices=("float32", "bfloat16"),
    )
    batch: BatchConfig = field(default_factory=BatchConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    parallel: ParallelConfig = field(default_factory=ParallelConfig)

    @property
    def with_pose(self) -> bool:
        """Whether there is a pose branch."""
        return self.model.pose != "none"

    @property
    def with_appearance(self) -> bool:
        """Whether there is an appearance branch; no frame is read without one."""
        return self.model.appearance != "none"

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of the frames that the model sees, in pixels."""
        return self.image_height, self.image_width

    @property
    def aspect(self) -> float:
        """Width of a crop over its height."""
        return self.image_width / self.image_height

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON and ``ConfigDict`` take them, section by section."""
        return asdict(self)


def default_config() -> "ml_collections.ConfigDict":
    """The paper's recipe without a data set, as a locked ``ConfigDict``: what ``get_config()`` of a file begins with.

    Locked: a field that does not exist cannot be set.
    """
    return to_config_dict(Config())


def to_config_dict(config: Config) -> "ml_collections.ConfigDict":
    """A typed config as the locked ``ConfigDict`` that overrides are applied to."""
    from ml_collections import ConfigDict, FieldReference

    values = config.to_dict()
    values["loss"]["appearance_weight"] = str(config.loss.appearance_weight)  # a ConfigDict's field has one type
    values["loss"]["margin"] = FieldReference(config.loss.margin, field_type=object)  # but this takes both
    return ConfigDict(values).lock()
