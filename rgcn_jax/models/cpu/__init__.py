"""CPU implementations of layers, faster than XLA's. `build_model` injects them if its ``platform`` is "cpu".

Without them, a module uses the plain form, which suits an accelerator: `nn.Conv`, `nn.BatchNorm`, the input projection
of a recurrent model before its scan, and the scan as a loop. Both forms have the same parameters and statistics under
the same names, and the same initial values for the same key. Their results agree up to rounding, so checkpoints of
either form load into the other. The CPU forms:

- `Conv`: XLA's convolution is near the speed of a matrix product on large maps. It is 10 to 200 times slower on maps of
  a few positions, and for the gradient of a 1x1 kernel it transposes a large factor element by element. See
  ``cpu.convolution``.
- `BatchNorm`: Flax computes (x - mean) * factor + bias. The gradient needs x - mean, which XLA writes to memory in
  float32 on a CPU. The form x * factor + offset used here needs only x in the gradient, and x is kept anyway.
- ``project_in_scan``: a recurrent model multiplies its input with W_x (LGCN: W) frame by frame, since the product of
  all frames is too large to write to memory and read again. On an accelerator each small product costs a kernel launch.
- ``unroll``: GCN&RNN's scan over a short clip is fully unrolled, which runs twice as fast as a loop and takes a third
  longer to compile. For an LSTM, compilation costs more than unrolling saves. Unrolling half of a scan gains nothing.
- ``lstm``: GCN&LSTM's recurrence with a custom gradient, which computes one product for all weights after the scan.
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
"""CPU forms of the layers of a `ResNet50`, as its fields."""

ENCODERS: Mapping[Callable[..., Any], Mapping[str, Any]] = MappingProxyType(
    {
        RGCN: {"project_in_scan": True},
        LGCN: {"project_in_scan": True},
        GCNRNN: {"project_in_scan": True, "unroll": 16},
        GCNLSTM: {"lstm": lstm_over_frames},
        STGCN: {"over_time": temporal_convolution_by_frequency},
    }
)
"""CPU forms by pose encoder, as fields of the encoder."""

__all__ = ["ENCODERS", "TRUNK", "BatchNorm", "Conv"]
