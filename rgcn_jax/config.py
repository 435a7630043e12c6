"""The typed config: all settings of a run with default, meaning, range and whether they may change on resume.

Defaults are those of the paper (section IV-A) where it states them. Users edit a ``ConfigDict`` with the same fields
(``default_config``, the files in ``configs/``) and override fields on the command line; the entry point converts it to
a ``Config`` by ``config_io.typed``.
"""

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from rgcn_jax.config_sections import AugmentConfig, EvaluationConfig, LossConfig, OptimizerConfig
from rgcn_jax.fields import setting
from rgcn_jax.walkers.spec import WalkersSpec

if TYPE_CHECKING:  # training on arrays does not need ml_collections
    import ml_collections

DATA_SETS = ("walkers", "mars", "dukemtmc_vidreid", "ilids_vid", "prid2011", "ls_vid", "ccvid", "mevid", "folder")
"""Choices of ``data.name``."""

RECURRENT_ENCODERS = ("RGCN", "LGCN")
"""The paper's pose encoders, with only a ReLU between graph convolution and recurrence."""

LAYERED_ENCODERS = (*RECURRENT_ENCODERS, "GCNRNN", "GCNLSTM")
"""Pose encoders with a variable number of graph layers."""

POSITIONS, ADDITIONS = ("crop", "centred"), ("confidence", "velocity", "bones")
"""Coordinates of ``model.pose_input``, and the channels that may be appended to them."""


@dataclass(frozen=True)
class BatchConfig:
    """The batch: P x K clips, computed in one or more micro-batches."""

    identities: int = setting(8, "P: identities in a batch.", minimum=1)
    clips_per_identity: int = setting(4, "K: clips of each identity in a batch.", minimum=1)
    micro_batches: int = setting(
        1, "Number of micro-batches into which each device splits its clips, to save memory.", minimum=1
    )
    max_frame_stride: int = setting(
        8, "Largest stride of a training clip: every s-th frame, s uniform in 1 to this as far as it fits.", minimum=1
    )

    @property
    def clips(self) -> int:
        """P x K."""
        return self.identities * self.clips_per_identity


@dataclass(frozen=True)
class DataConfig:
    """The data set, its keypoints and precomputed features."""

    name: str = setting("", "Name of the data set.", choices=DATA_SETS)
    root: str = setting(
        "", "Folder of the data set, original or written by `rgcn-jax prepare`. Unused by walkers.", may_change=True
    )
    split: int = setting(
        1, "Split number, from 1: iLIDS-VID and PRID2011 have ten published splits, the others one.", minimum=1
    )
    keypoints: str = setting(
        "",
        "Keypoint files of a pose estimator, or a keypoint store (docs/keypoints.md). Empty for prepared data.",
        may_change=True,
    )
    features: str = setting(
        "", 'An .npz file with f_a of every tracklet, for model.appearance "precomputed".', may_change=True
    )
    follow_links: bool = setting(False, "Follow symbolic links that lead out of data.root.", may_change=True)
    walkers: WalkersSpec = field(default_factory=WalkersSpec)


@dataclass(frozen=True)
class ModelConfig:
    """The appearance branch, the pose branch and what follows them."""

    appearance: str = setting(
        "AP",
        "Appearance model, applied to the frames: average pooling (AP), attention (AA; AA-conv as in "
        "Video-Person-ReID), recurrent aggregation (RA) or BiCnet-TKS (BiC). precomputed: f_a read from data.features. "
        "none: pose only; no frame is read.",
        choices=("AP", "AA", "AA-conv", "RA", "BiC", "precomputed", "none"),
        plugin=True,
    )
    pose: str = setting(
        "RGCN",
        "Pose encoder. none: appearance only. STGCN-compat: with the graph partition of ST-GCN's released code.",
        choices=("none", *LAYERED_ENCODERS, "STGCN", "STGCN-compat", "EvolveGCN-O", "EvolveGCN-H"),
        plugin=True,
    )
    readout: str = setting(
        "DAM",
        "Readout: dual (DAM), node (NAM) or time attention (TAM), or the mean.",
        choices=("DAM", "NAM", "TAM", "mean"),
        plugin=True,
    )
    pose_features: int = setting(512, "Dimension of f_p. A node has half of it under DAM, else all.", minimum=1)
    graph_layers: int = setting(1, "Graph layers, L of eq. 7 (RGCN, LGCN, GCNRNN, GCNLSTM).", minimum=1)
    graph_relu_each_layer: bool = setting(False, "ReLU after every graph layer, not only after the last (the paper).")
    graph_self: bool = setting(
        False,
        "Each graph layer takes [Z, A_hat Z] instead of A_hat Z, which keeps differences between neighbouring "
        "keypoints; not in the paper.",
    )
    product: bool = setting(
        False, "Matrix product P between graph convolution and recurrence (RGCN, LGCN); not in the paper."
    )
    pose_input: str = setting(
        "centred",
        'Input coordinates: "crop" (the paper: normalised by the crop) or "centred" (origin at the hips, unit torso '
        'length), followed by any of "+confidence", "+velocity", "+bones".',
    )
    pose_fill: bool = setting(
        False,
        "Fill gaps of a keypoint within a clip by linear interpolation, and by the nearest value at the ends; "
        "otherwise a missing keypoint is 0. Not in the paper.",
    )
    pose_norm: bool = setting(
        False,
        "Standardise each coordinate of each keypoint by running statistics over detected keypoints; not in the paper.",
    )
    keypoint_embedding: int = setting(
        0, "Channels of a learned embedding of each keypoint, appended to its input; not in the paper.", minimum=0
    )
    dropout: float = setting(0.0, "Dropout rate in the blocks of ST-GCN.", minimum=0, maximum=0.99)
    neck: str = setting(
        "none",
        "batchnorm: the classifier takes normalised features, the triplet losses raw ones. batchnorm_all: triplet "
        "losses and retrieval take normalised features too, with a learned scale and offset (BiCnet-TKS).",
        choices=("none", "batchnorm", "batchnorm_all"),
    )
    batch_norm_variance: str = setting(
        "biased",
        "Estimator of the running variances, which only evaluation uses: biased (Flax) or unbiased (PyTorch).",
        choices=("biased", "unbiased"),
    )
    stage_sizes: tuple[int, ...] = setting((3, 4, 6, 3), "Blocks in each stage of the ResNet; default: ResNet-50.")
    width: int = setting(64, "Channels of the first stage of the ResNet, before expansion.", minimum=1)
    last_stride: int = setting(
        1, "Stride of the last stage: 1 is usual in re-identification, 2 in classification.", minimum=1, maximum=2
    )
    pooling: str = setting("mean", "Spatial pooling of the last feature map.", choices=("mean", "max"))
    remat: str = setting(
        "none",
        "Rematerialisation: blocks recomputes the ResNet's blocks in the backward pass, for less memory and more time.",
        choices=("none", "blocks"),
        may_change=True,
    )
    pretrained: str = setting(
        "",
        "Pretrained weights: a ResNet-50 of torchvision, timm or a ReID project, or BiCnet-TKS (docs/pretrained.md). "
        "Empty: random initialisation.",
        may_change=True,
    )
    init_from: str = setting(
        "",
        "Folder of a run whose best weights (else its latest), without the classifier, initialise the model; instead "
        "of pretrained.",
        may_change=True,
    )
    pose_pretrained: str = setting(
        "",
        "Pretrained pose branch: walkers-gait, which is part of the package (docs/gait.md), a model folder or a run "
        "folder. The pose fields of its model section must be the same.",
        may_change=True,
    )


@dataclass(frozen=True)
class ParallelConfig:
    """Use of devices."""

    num_devices: int = setting(
        0, "Number of devices to use; 0: all. Several processes always use all.", minimum=0, may_change=True
    )
    batch_norm: str = setting(
        "global",
        "Batch statistics. global: over all clips of a batch. device: over each device's clips, as in PyTorch's "
        "DataParallel.",
        choices=("global", "device"),
    )


@dataclass(frozen=True)
class Config:
    """All settings of a run."""

    seed: int = setting(0, "Seed of the initialisation and of all batches.", minimum=0, maximum=2**31 - 1)
    num_epochs: int = setting(
        800, "Training epochs; an epoch is one pass over the training identities.", minimum=0, may_change=True
    )
    num_steps: int = setting(
        0, "Training steps, instead of num_epochs; 0: num_epochs applies.", minimum=0, may_change=True
    )
    eval_every_epochs: int = setting(
        100,
        "Epochs between evaluations; 0: only at the end, where the model is always evaluated.",
        minimum=0,
        may_change=True,
    )
    checkpoint_every_steps: int = setting(
        1000, "Steps between checkpoints; also saved at each evaluation and at the end.", minimum=0, may_change=True
    )
    log_every_steps: int = setting(20, "Steps between records in metrics.jsonl.", minimum=0, may_change=True)
    tracker: str = setting(
        "none",
        "Experiment tracker to log to as well: wandb or mlflow (docs/tracking.md).",
        choices=("none", "wandb", "mlflow"),
        may_change=True,
    )
    on_nonfinite: str = setting(
        "stop",
        "On a NaN or Inf in the loss or gradient: stop and report the batch, or skip the step and count it.",
        choices=("stop", "skip"),
        may_change=True,
    )
    allow_config_change: bool = setting(
        False, "Resume a run with another config; the changes are printed and recorded.", may_change=True
    )
    profile_steps: str = setting("", 'Steps to profile, such as "100:110" (docs/performance.md).', may_change=True)
    compilation_cache: bool = setting(True, "Keep compiled programs in ~/.cache/rgcn_jax/compiled.", may_change=True)
    frames_per_clip: int = setting(10, "T: frames in a clip.", minimum=1)
    image_height: int = setting(256, "Height of the frames after resizing, in pixels.", minimum=1)
    image_width: int = setting(128, "Width of the frames after resizing, in pixels.", minimum=1)
    dtype: str = setting(
        "float32",
        "Data type of the computation; parameters, statistics, recurrence and losses stay float32.",
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
        """Whether there is an appearance branch. Without one no frame is read."""
        return self.model.appearance != "none"

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of the frames after resizing, in pixels."""
        return self.image_height, self.image_width

    @property
    def aspect(self) -> float:
        """Aspect ratio of a crop: width over height."""
        return self.image_width / self.image_height

    def to_dict(self) -> dict[str, Any]:
        """All fields as nested dicts of plain values, for JSON and ``ConfigDict``."""
        return asdict(self)


def default_config() -> "ml_collections.ConfigDict":
    """The default config, the paper's recipe without a data set, as a locked ``ConfigDict``.

    ``get_config()`` of a config file starts from it. Locked: setting an unknown field raises an error.
    """
    return to_config_dict(Config())


def to_config_dict(config: Config) -> "ml_collections.ConfigDict":
    """Convert a typed config to a locked ``ConfigDict``, to which overrides can be applied."""
    from ml_collections import ConfigDict, FieldReference

    values = config.to_dict()
    values["loss"]["appearance_weight"] = str(config.loss.appearance_weight)  # a ConfigDict field has a single type
    values["loss"]["margin"] = FieldReference(config.loss.margin, field_type=object)  # a number or "soft"
    return ConfigDict(values).lock()
