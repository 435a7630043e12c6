"""Pure Flax (Linen) modules: appearance models, pose encoders, readouts, and the two-branch model that joins them."""

from rgcn_jax.models.appearance import AttentionAggregation, AveragePooling, FrameAppearance, RecurrentAggregation
from rgcn_jax.models.bicnet import BiCnet
from rgcn_jax.models.pose_input import pose_input
from rgcn_jax.models.readout import DualAttention, MeanReadout, NodeAttention, TimeAttention
from rgcn_jax.models.recurrent_gcn import LGCN, RGCN
from rgcn_jax.models.resnet import ResNet50
from rgcn_jax.models.two_branch import Features, TwoBranch, feature_statistics

__all__ = [
    "LGCN",
    "RGCN",
    "AttentionAggregation",
    "AveragePooling",
    "BiCnet",
    "DualAttention",
    "Features",
    "FrameAppearance",
    "MeanReadout",
    "NodeAttention",
    "RecurrentAggregation",
    "ResNet50",
    "TimeAttention",
    "TwoBranch",
    "feature_statistics",
    "pose_input",
]
