"""CPU implementations of layers, faster than XLA's; `build_model` injects them where its ``platform`` is "cpu".

A module made without them is in the plain form, which suits an accelerator: `nn.Conv`, `nn.BatchNorm`, the input
projection of a recurrent model before its scan, and the scan as a loop. Both forms have the same parameters and
statistics under the same names, start from the same values for the same key, and agree up to rounding, so a checkpoint
of one loads into the other. What the fast forms buy on a CPU:

- `Conv`: XLA's convolution is near the speed of a matrix product on large maps, but 10 to 200 times slower on maps of a
  few positions, and the gradient of a 1x1 kernel transposes a large factor element by element; see
  ``cpu.convolution``.
- `BatchNorm`: Flax forms (x - mean) * factor + bias, and the gradient needs x - mean, which XLA writes to memory in
  float32 on a CPU. Here it is x * factor + offset: the gradient needs x alone, which is kept anyway.
- ``project_in_scan``: a recurrent model multiplies its input with W_x (LGCN: W) frame by frame, where the product of
  all frames is too much memory to write and to read again. On an accelerator each small product costs its launch.
- ``unroll``: GCN&RNN's scan over a short clip is compiled frame after frame, which is twice as fast as a loop and takes
  a third longer to compile. An LSTM gains less than its compilation costs; half of a scan unrolled gains nothing.
- ``lstm``: GCN&LSTM's recurrence with a gradient of its own, one product for all weights after the scan.
- ``over_time``: ST-GCN's convolution over time by a Fourier transform, with a quarter of the products.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from rgcn_jax.models.cpu.convolution import Conv
from rgcn_jax.models.cpu.lstm import lstm_over_frames
from rgcn_jax.models.cpu.normalisation import BatchNorm
from rgcn_jax.models.cpu.temporal import temporal_convolution_by_frequency
from rgcn_jax.models.gcn_rnn import GCNLSTM, GCNRNN
from rgcn_jax.models.recurrent_gcn import LGCN, RGCN
from rgcn_jax.models.stgcn import STGCN

TRUNK: Mapping[str, Any] = MappingProxyType({"conv": Conv, "norm": BatchNorm})
"""Fields of a `ResNet50`."""

ENCODERS: Mapping[Callable[..., Any], Mapping[str, Any]] = MappingProxyType(
    {
        RGCN: {"project_in_scan": True},
        LGCN: {"project_in_scan": True},
        GCNRNN: {"project_in_scan": True, "unroll": 16},
        GCNLSTM: {"lstm": lstm_over_frames},
        STGCN: {"over_time": temporal_convolution_by_frequency},
    }
)
"""Fields of the pose encoders that have a fast form."""

__all__ = ["ENCODERS", "TRUNK", "BatchNorm", "Conv"]
