"""Flax (Linen) modules: appearance models, pose encoders, readouts, and the two-branch model."""

from rgcn_jax.models.appearance import (
    AttentionAggregation,
    AveragePooling,
    ConvolutionalAttention,
    FrameAppearance,
    PrecomputedFeatures,
    RecurrentAggregation,
)
from rgcn_jax.models.bicnet import BiCnet
from rgcn_jax.models.evolve_gcn import EvolveGCN
from rgcn_jax.models.gcn_rnn import GCNLSTM, GCNRNN
from rgcn_jax.models.pose_input import pose_input
from rgcn_jax.models.readout import DualAttention, MeanReadout, NodeAttention, TimeAttention
from rgcn_jax.models.recurrent_gcn import LGCN, RGCN
from rgcn_jax.models.resnet import ResNet50
from rgcn_jax.models.stgcn import STGCN
from rgcn_jax.models.two_branch import Features, TwoBranch, feature_statistics, pose_features

__all__ = [
    "GCNLSTM",
    "GCNRNN",
    "LGCN",
    "RGCN",
    "STGCN",
    "AttentionAggregation",
    "AveragePooling",
    "BiCnet",
    "ConvolutionalAttention",
    "DualAttention",
    "EvolveGCN",
    "Features",
    "FrameAppearance",
    "MeanReadout",
    "NodeAttention",
    "PrecomputedFeatures",
    "RecurrentAggregation",
    "ResNet50",
    "TimeAttention",
    "TwoBranch",
    "feature_statistics",
    "pose_features",
    "pose_input",
]
