"""Primitives that rearrange, slice, sort or reduce elements."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rgcn_jax.errors import InputError
from rgcn_jax.export.onnx.elementwise import Eqn, Rule
from rgcn_jax.export.onnx.graph import Graph, Known, Value


def full_operands(graph: Graph, eqn: Eqn, args: Sequence[Known]) -> list[str]:
    """Names of the operands, expanded to JAX's shapes."""
    return [graph.full(x, var.aval.shape) for x, var in zip(args, eqn.invars, strict=True)]


def expanded(build: Callable[[Graph, Eqn, list[str]], Sequence[str] | str]) -> Rule:
    """A rule whose ``build`` gets the names of the expanded operands and returns those of the results."""

    def rule(graph: Graph, eqn: Eqn, args: Sequence[Known]) -> list[Known]:
        made = build(graph, eqn, full_operands(graph, eqn, args))
        names = [made] if isinstance(made, str) else made
        return [Value(name, var.aval.shape) for name, var in zip(names, eqn.outvars, strict=True)]

    return rule


def _concatenate(graph: Graph, eqn: Eqn, args: Sequence[Known]) -> list[Known]:
    axis, out = eqn.params["dimension"], eqn.outvars[0].aval.shape
    there = [i for i, var in enumerate(eqn.invars) if not _is_zero(var.aval.shape[axis])]
    names = [graph.full(args[i], eqn.invars[i].aval.shape) for i in there]
    return [Value(graph.add("Concat", *names, axis=axis), out)]


def _stack(graph: Graph, eqn: Eqn, names: list[str]) -> str:
    axis = graph.integers([eqn.params["axis"]])
    return graph.add("Concat", *(graph.add("Unsqueeze", name, axis) for name in names), axis=eqn.params["axis"])


def _unstack(graph: Graph, eqn: Eqn, names: list[str]) -> list[str]:
    count = len(eqn.outvars)
    parts = graph.add_all("Split", [*names, graph.integers([1] * count)], count, axis=eqn.params["axis"])
    return [graph.reshape(part, var.aval.shape) for part, var in zip(parts, eqn.outvars, strict=True)]


def _split(graph: Graph, eqn: Eqn, names: list[str]) -> list[str]:
    sizes = graph.integers([int(n) for n in eqn.params["sizes"]])
    return graph.add_all("Split", [*names, sizes], len(eqn.outvars), axis=eqn.params["axis"])


def _slice(graph: Graph, eqn: Eqn, names: list[str]) -> str:
    shape, params = eqn.invars[0].aval.shape, eqn.params
    strides = params["strides"] or (1,) * len(shape)
    limits = zip(params["start_indices"], params["limit_indices"], strides, shape, strict=True)
    cut = [(i, *of) for i, (*of, size) in enumerate(limits) if not (_is_zero(of[0]) and of[1] == size and of[2] == 1)]
    if not cut:
        return names[0]
    axes, starts, ends, steps = zip(*cut, strict=True)
    return graph.add("Slice", *names, *(graph.integers(v) for v in (starts, ends, axes, steps)))


def _pad(graph: Graph, eqn: Eqn, names: list[str]) -> str:
    low, high, between = ([int(n) for n in of] for of in zip(*eqn.params["padding_config"], strict=True))
    if any(between) or min(*low, *high) < 0:
        raise InputError("the ONNX export does not support lax.pad between elements or with negative width.")
    name, value = names
    return graph.add("Pad", name, graph.integers((*low, *high)), value) if any((*low, *high)) else name


def _reduce(graph: Graph, eqn: Eqn, names: list[str]) -> str:
    operator, logical = REDUCTIONS[eqn.primitive.name]
    (name,), axes = names, graph.integers(eqn.params["axes"])
    if logical:
        name = graph.cast(name, np.int32)
    name = graph.add(operator, name, axes, keepdims=0)
    return graph.cast(name, bool) if logical else name


def _argmax(graph: Graph, eqn: Eqn, names: list[str]) -> str:
    (axis,) = eqn.params["axes"]
    operator = "ArgMax" if eqn.primitive.name == "argmax" else "ArgMin"
    found = graph.add(operator, _orderable(graph, eqn.invars[0].aval, names[0]), axis=axis, keepdims=0)
    return graph.cast(found, eqn.params["index_dtype"])


def _sort(graph: Graph, eqn: Eqn, names: list[str]) -> list[str]:
    """TopK of all elements, which keeps the order of equal ones like JAX's stable sort."""
    axis, aval = eqn.params["dimension"], eqn.invars[0].aval
    if eqn.params["num_keys"] != 1:
        raise InputError("the ONNX export supports lax.sort by one key only.")
    first, *others = names
    keys = [_orderable(graph, aval, first), graph.size(aval.shape[axis])]
    ordered, order = graph.add_all("TopK", keys, 2, axis=axis, largest=0, sorted=1)
    found = [graph.cast(ordered, bool) if aval.dtype == bool else ordered]
    return found + [graph.add("GatherElements", name, order, axis=axis) for name in others]


def _top_k(graph: Graph, eqn: Eqn, names: list[str]) -> list[str]:
    axis, count = eqn.params.get("axis", len(eqn.invars[0].aval.shape) - 1), graph.integers([eqn.params["k"]])
    values, order = graph.add_all("TopK", [*names, count], 2, axis=axis, largest=1, sorted=1)
    return [values, graph.cast(order, eqn.outvars[1].aval.dtype)]


def _running(graph: Graph, eqn: Eqn, names: list[str]) -> str:
    """Cumulative maximum or minimum, element by element, since ONNX has no such operator."""
    axis, length = eqn.params["axis"], eqn.invars[0].aval.shape[eqn.params["axis"]]
    operator = "Max" if eqn.primitive.name == "cummax" else "Min"
    parts = graph.add_all("Split", [*names, graph.integers([1] * length)], length, axis=axis)
    parts = parts[::-1] if eqn.params["reverse"] else parts
    for i in range(1, length):
        parts[i] = graph.add(operator, parts[i - 1], parts[i])
    return graph.add("Concat", *(parts[::-1] if eqn.params["reverse"] else parts), axis=axis)


def _cumsum(graph: Graph, eqn: Eqn, names: list[str]) -> str:
    axis = graph.constant(np.int64(eqn.params["axis"]))
    return graph.add("CumSum", *names, axis, reverse=int(eqn.params["reverse"]))


def _orderable(graph: Graph, aval: Any, name: str) -> str:
    """Convert booleans to integers, since ONNX compares numbers only."""
    return graph.cast(name, np.int32) if aval.dtype == bool else name


def _is_zero(dim: Any) -> bool:
    return isinstance(dim, int) and dim == 0


REDUCTIONS: Mapping[str, tuple[str, bool]] = {
    "reduce_and": ("ReduceMin", True),
    "reduce_max": ("ReduceMax", False),
    "reduce_min": ("ReduceMin", False),
    "reduce_or": ("ReduceMax", True),
    "reduce_prod": ("ReduceProd", False),
    "reduce_sum": ("ReduceSum", False),
}
"""Operator, and whether it is for booleans."""

_reshape = expanded(lambda graph, eqn, names: graph.reshape(names[0], eqn.outvars[0].aval.shape))

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(REDUCTIONS, expanded(_reduce)),
    "argmax": expanded(_argmax),
    "argmin": expanded(_argmax),
    "concatenate": _concatenate,
    "cummax": expanded(_running),
    "cummin": expanded(_running),
    "cumsum": expanded(_cumsum),
    "pad": expanded(_pad),
    "reshape": _reshape,
    "slice": expanded(_slice),
    "sort": expanded(_sort),
    "split": expanded(_split),
    "squeeze": _reshape,
    "stack": expanded(_stack),
    "top_k": expanded(_top_k),
    "transpose": expanded(lambda graph, eqn, names: graph.transpose(names[0], eqn.params["permutation"])),
    "unstack": expanded(_unstack),
}
