"""The pose models of ``rgcn_jax.models`` in PyTorch, with the same parameters, to compare results and speed.

They are eager and implemented for speed. Parts that do not depend on the state are computed for all frames at once,
frames first. RGCN and LGCN use a loop with fused gates and ``addmm``; ``nn.RNN`` and ``nn.LSTM`` process all nodes at
once. ST-GCN uses ``Conv2d`` in its authors' layout [B, C, T, V].

The input is X [B, T, V, C], the output H [B, T, V, n]. Only the compared case is implemented: one graph layer, all
frames valid, training mode. Measured on a CPU and rejected: RGCN's and LGCN's graph convolution inside the loop (1 %
slower and 4 % faster), ST-GCN in ``channels_last`` (6 % slower).
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rgcn_jax.models.evolve_gcn import SLOPE
from rgcn_jax.models.stgcn import TEMPORAL_KERNEL, spatial_partition
from rgcn_jax.skeleton import EDGES, KEYPOINTS, normalized_adjacency

Arrays = dict[str, np.ndarray]


def _empty(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape))


class _Graph(nn.Module):
    """A_hat as a buffer, and two layout conversions."""

    a_hat: Tensor

    def __init__(self):
        super().__init__()
        self.register_buffer("a_hat", torch.tensor(np.asarray(normalized_adjacency(), np.float32)))

    def neighbours(self, x: Tensor) -> Tensor:
        """A_hat X of all frames, frames first: [T, B V, C]."""
        return (self.a_hat @ x).transpose(0, 1).flatten(1, 2)

    def clips_first(self, h: Tensor) -> Tensor:
        """[T, B V, n] to [B, T, V, n]."""
        return h.unflatten(1, (-1, self.a_hat.shape[0])).transpose(0, 1)


class RGCN(_Graph):
    """H_t = tanh(H_{t-1} W_h + relu(A_hat X_t W_x) + b)."""

    def __init__(self, channels: int, features: int):
        super().__init__()
        self.W_x, self.W_h, self.b = _empty(channels, features), _empty(features, features), _empty(features)

    def forward(self, x: Tensor) -> Tensor:
        """Compute H from X."""
        graph = torch.relu(self.neighbours(x) @ self.W_x) + self.b
        h, states = torch.zeros_like(graph[0]), []
        for graph_t in graph.unbind():
            h = torch.tanh(torch.addmm(graph_t, h, self.W_h))
            states.append(h)
        return self.clips_first(torch.stack(states))


class LGCN(_Graph):
    """The LSTM variant; gates f, i, o, g are concatenated."""

    def __init__(self, channels: int, features: int):
        super().__init__()
        self.W, self.U, self.b = _empty(channels, 4 * features), _empty(features, 4 * features), _empty(4 * features)

    def forward(self, x: Tensor) -> Tensor:
        """Compute H from X."""
        graph = torch.relu(self.neighbours(x) @ self.W) + self.b
        h = c = torch.zeros_like(graph[0].chunk(4, dim=-1)[0])
        states = []
        for graph_t in graph.unbind():
            f, i, o, g = torch.addmm(graph_t, h, self.U).chunk(4, dim=-1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            states.append(h)
        return self.clips_first(torch.stack(states))


class GCNRecurrent(_Graph):
    """GCN&RNN and GCN&LSTM: relu(A_hat X_t W_g), then ``nn.RNN`` or ``nn.LSTM`` over all nodes at once."""

    def __init__(self, recurrent: type[nn.RNN] | type[nn.LSTM], channels: int, features: int):
        super().__init__()
        self.W_g, self.recurrent = _empty(channels, features), recurrent(features, features)
        # PyTorch has two biases, which are only used as their sum: the second stays 0.
        nn.init.zeros_(dict(self.recurrent.named_parameters())["bias_hh_l0"]).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Compute H from X."""
        return self.clips_first(self.recurrent(torch.relu(self.neighbours(x) @ self.W_g))[0])


class STGCNBlock(nn.Module):
    """Graph convolution, BN, ReLU, temporal convolution, BN, + residual, ReLU; in and out [B, C, T, V]."""

    partition: Tensor

    def __init__(self, channels: int, features: int, residual: bool, variant: str):
        super().__init__()
        partition = torch.tensor(spatial_partition(EDGES, KEYPOINTS.index("neck"), len(KEYPOINTS), variant))
        self.register_buffer("partition", partition)
        self.M = _empty(*partition.shape)
        self.graph = nn.Conv2d(channels, len(partition) * features, 1)
        self.bn_g, self.bn_t = nn.BatchNorm2d(features), nn.BatchNorm2d(features)
        kernel = (TEMPORAL_KERNEL, 1)
        self.temporal = nn.Conv2d(features, features, kernel, padding=(TEMPORAL_KERNEL // 2, 0), bias=False)
        self.residual = residual
        self.projection = None
        if residual and channels != features:
            self.projection = nn.Sequential(nn.Conv2d(channels, features, 1, bias=False), nn.BatchNorm2d(features))

    def forward(self, x: Tensor) -> Tensor:
        """Compute the output of the block from X."""
        y = self.graph(x).unflatten(1, (len(self.partition), -1))
        y = torch.einsum("bkctv,kvw->bctw", y, self.partition * self.M)
        y = self.bn_t(self.temporal(torch.relu(self.bn_g(y))))
        if self.residual:
            y = y + (x if self.projection is None else self.projection(x))
        return torch.relu(y)


class STGCN(nn.Module):
    """BatchNorm over the V C values of a frame, followed by blocks with ``widths``."""

    def __init__(self, channels: int, widths: tuple[int, ...], variant: str):
        super().__init__()
        self.bn_data = nn.BatchNorm1d(len(KEYPOINTS) * channels)
        ins = (channels, *widths[:-1])
        self.blocks = nn.Sequential(
            *(STGCNBlock(c, n, i > 0, variant) for i, (c, n) in enumerate(zip(ins, widths, strict=True)))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Compute H from X."""
        flat = self.bn_data(x.flatten(2).flatten(0, 1))
        return self.blocks(flat.view(x.shape).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class EvolvingLayer(nn.Module):
    """One layer of EvolveGCN with the matrix GRU; gates U, R, C are stacked in ``W`` and ``B``, U and R in ``V_UR``.

    With ``p`` it is variant "H", else "O".
    """

    def __init__(self, channels: int, features: int, summary: bool):
        super().__init__()
        self.Q_0, self.B = _empty(channels, features), _empty(3 * channels, features)
        self.W, self.V_UR = _empty(3 * channels, channels), _empty(2 * channels, channels)
        self.V_C, self.p = _empty(channels, channels), _empty(channels) if summary else None

    def evolve(self, q: Tensor, z: Tensor) -> Tensor:
        """Compute Q_t from Q_{t-1} [..., C, n] and the first columns of Z_t; further columns equal the last one."""
        wz = self.W @ z
        if wz.shape[-1] < q.shape[-1]:
            wz = nn.functional.pad(wz, (0, q.shape[-1] - wz.shape[-1]), mode="replicate")
        c = q.shape[-2]
        gates, candidate = (wz + self.B).split((2 * c, c), dim=-2)
        update, reset = torch.sigmoid(gates + self.V_UR @ q).chunk(2, dim=-2)
        return torch.lerp(q, torch.tanh(candidate + self.V_C @ (reset * q)), update)

    def forward(self, x: Tensor, ax: Tensor) -> Tensor:
        """Compute act(A_hat X_t Q_t) [T, B, V, n] from X [T, B, V, C] and A_hat X."""
        weights = []
        if self.p is None:
            q = self.Q_0
            for _ in range(len(x)):
                q = self.evolve(q, q)
                weights.append(q)
            h = (ax.flatten(1, 2) @ torch.stack(weights)).view(*ax.shape[:3], -1)
            return nn.functional.leaky_relu(h, SLOPE)
        scores, order = ((x @ self.p) / self.p.norm()).topk(min(x.shape[2], self.Q_0.shape[1]), dim=-1)
        best = x.gather(2, order[..., None].expand(*order.shape, x.shape[-1])) * torch.tanh(scores)[..., None]
        q = self.Q_0.expand(x.shape[1], -1, -1)
        for z in best.transpose(-1, -2).unbind():
            q = self.evolve(q, z)
            weights.append(q)
        return nn.functional.leaky_relu(ax @ torch.stack(weights), SLOPE)


class EvolveGCN(_Graph):
    """Two evolving layers."""

    def __init__(self, channels: int, features: int, summary: bool):
        super().__init__()
        self.layers = nn.ModuleList(EvolvingLayer(c, features, summary) for c in (channels, features))

    def forward(self, x: Tensor) -> Tensor:
        """Compute H from X."""
        x = x.transpose(0, 1)
        for layer in self.layers:
            x = layer(x, self.a_hat @ x)
        return x.transpose(0, 1)


def _build(name: str, params: Mapping[str, Any]) -> nn.Module:
    """Create the module with the sizes of the parameters."""
    if name == "RGCN":
        return RGCN(*params["W_x"].shape)
    if name == "LGCN":
        return LGCN(params["W"].shape[0], params["U"].shape[0])
    if name in ("GCNRNN", "GCNLSTM"):
        return GCNRecurrent(nn.RNN if name == "GCNRNN" else nn.LSTM, *params["W_g"].shape)
    if name.startswith("STGCN"):
        widths = tuple(params[f"block{i + 1}"]["W_t"].shape[-1] for i in range(len(params) - 1))
        variant = "spatial_compat" if name == "STGCN-compat" else "spatial"
        return STGCN(params["block1"]["W_g"].shape[0], widths, variant)
    return EvolveGCN(*params["layer1"]["Q_0"].shape, summary=name == "EvolveGCN-H")


def _gates(fused: np.ndarray, order: str) -> np.ndarray:
    """Convert concatenated gates f, i, o, g [..., 4n] to stacked gates in PyTorch's order [4n, ...]."""
    blocks = dict(zip("fiog", np.split(fused.T, 4), strict=True))
    return np.concatenate([blocks[gate] for gate in order])


def _recurrent(params: Mapping[str, Any], convert: Callable[[np.ndarray], np.ndarray]) -> Arrays:
    names = {"weight_ih_l0": "W_x", "weight_hh_l0": "W_h", "bias_ih_l0": "b"}
    return {"W_g": params["W_g"], **{f"recurrent.{ours}": convert(params[theirs]) for ours, theirs in names.items()}}


def _stgcn(params: Mapping[str, Any]) -> Arrays:
    def norm(name: str, of: Mapping[str, Any]) -> Arrays:
        return {f"{name}.weight": of["scale"], f"{name}.bias": of["bias"]}

    found = norm("bn_data", params["bn_data"])
    for i in range(len(params) - 1):
        block, at = params[f"block{i + 1}"], f"blocks.{i}"
        found |= {
            f"{at}.graph.weight": block["W_g"].T[..., None, None],
            f"{at}.graph.bias": block["b_g"],
            f"{at}.M": block["M"],
            f"{at}.temporal.weight": block["W_t"].transpose(2, 1, 0)[..., None],
            **norm(f"{at}.bn_g", block["bn_g"]),
            **norm(f"{at}.bn_t", block["bn_t"]),
        }
        if "W_r" in block:
            found[f"{at}.projection.0.weight"] = block["W_r"].T[..., None, None]
            found |= norm(f"{at}.projection.1", block["bn_r"])
    return found


def _evolving(params: Mapping[str, Any]) -> Arrays:
    found = {}
    for i in range(2):
        layer, at = params[f"layer{i + 1}"], f"layers.{i}"
        stacked = {"W": "URC", "B": "URC", "V_UR": "UR", "V_C": "C"}
        for name, gates in stacked.items():
            found[f"{at}.{name}"] = np.concatenate([layer[f"{name[0]}_{gate}"] for gate in gates])
        found |= {f"{at}.{name}": layer[name] for name in ("Q_0", "p") if name in layer}
    return found


def in_torch_layout(name: str, params: Any) -> Arrays:
    """Convert JAX parameters, or their gradients, to the names and the layout of the PyTorch module."""
    if name in ("RGCN", "LGCN"):
        return dict(params)
    if name == "GCNRNN":
        return _recurrent(params, np.transpose)
    if name == "GCNLSTM":
        return _recurrent(params, lambda fused: _gates(fused, "ifgo"))
    return _stgcn(params) if name.startswith("STGCN") else _evolving(params)


def reference(name: str, params: Any) -> nn.Module:
    """Create the pose model ``name`` (a key of ``rgcn_jax.models.build.POSE_ENCODERS``) with the JAX model's
    parameters.

    Args:
      name: name of the pose model.
      params: its collection "params", as NumPy arrays.

    Raises:
      ValueError: names or shapes of the parameters differ from those of the PyTorch module.
    """
    module, values = _build(name, params), in_torch_layout(name, params)
    trained = {key: parameter for key, parameter in module.named_parameters() if parameter.requires_grad}
    shapes = [{(k, tuple(v.shape)) for k, v in both.items()} for both in (trained, values)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"{name}: parameters that only one of PyTorch and JAX has: {sorted(shapes[0] ^ shapes[1])}.")
    with torch.no_grad():
        for key, parameter in trained.items():
            parameter.copy_(torch.tensor(values[key]))
    return module
