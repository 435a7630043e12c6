"""Primitives that rearrange, slice, sort or reduce elements."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rgcn_jax.errors import InputError
from rgcn_jax.export.onnx.elementwise import Eqn, Rule
from rgcn_jax.export.onnx.graph import Graph, Known, Value


def _out(eqn: Eqn, name: str) -> list[Known]:
    return [Value(name, eqn.outvars[0].aval.shape)]


def full_operands(graph: Graph, eqn: Eqn, args: Sequence[Known]) -> list[str]:
    """Names of the operands, expanded to JAX's shapes."""
    return [graph.full(x, var.aval.shape) for x, var in zip(args, eqn.invars, strict=True)]


def _reshape(graph: Graph, eqn: Eqn, args: Sequence[Known]) -> list[Known]:
    return _out(eqn, graph.reshape(full_operands(graph, eqn, args)[0], eqn.outvars[0].aval.shape))


def _transpose(graph: Graph, eqn: Eqn, args: Sequence[Known]) -> list[Known]:
    return _out(eqn, graph.transpose(full_operands(graph, eqn, args)[0], eqn.params["permutation"]))


def _concatenate(graph: Graph, eqn: Eqn, args: Sequence[Known]) -> list[Known]:
    axis = eqn.params["dimension"]
    there = [i for i, var in enumerate(eqn.invars) if not _is(var.aval.shape[axis], 0)]
    names = [graph.full(args[i], eqn.invars[i].aval.shape) for i in there]
    return _out(eqn, graph.add("Concat", *names, axis=axis))


def _stack(graph: Graph, eqn: Eqn, args: Sequence[Known]) -> list[Known]:
    axis = graph.integers([eqn.params["axis"]])
    names = [graph.add("Unsqueeze", name, axis) for name in full_operands(graph, eqn, args)]
    return _out(eqn, graph.add("Concat", *names, axis=eqn.params["axis"]))


def _unstack(graph: Graph, eqn: Eqn, args: Sequence[Known]) -> list[Known]:
    (name,), axis, count = full_operands(graph, eqn, args), eqn.params["axis"], len(eqn.outvars)
    names = graph.add_all("Split", [name, graph.integers([1] * count)], count, axis=axis)
    return [Value(graph.reshape(n, v.aval.shape), v.aval.shape) for n, v in zip(names, eqn.outvars, strict=True)]


def _split(graph: Graph, eqn: Eqn, args: Sequence[Known]) -> list[Known]:
    (name,), sizes = full_operands(graph, eqn, args), graph.integers([int(n) for n in eqn.params["sizes"]])
    names = graph.add_all("Split", [name, sizes], len(eqn.outvars), axis=eqn.params["axis"])
    return [Value(n, var.aval.shape) for n, var in zip(names, eqn.outvars, strict=True)]


def _slice(graph: Graph, eqn: Eqn, args: Sequence[Known]) -> list[Known]:
    shape, params = eqn.invars[0].aval.shape, eqn.params
    strides = params["strides"] or (1,) * len(shape)
    limits = zip(params["start_indices"], params["limit_indices"], strides, shape, strict=True)
    cut = [(i, *of) for i, (*of, size) in enumerate(limits) if not (_is(of[0], 0) and of[1] == size and of[2] == 1)]
    (name,) = full_operands(graph, eqn, args)
    if cut:
        axes, starts, ends, steps = zip(*cut, strict=True)
        name = graph.add("Slice", name, *(graph.integers(v) for v in (starts, ends, axes, steps)))
    return _out(eqn, name)


def _pad(graph: Graph, eqn: Eqn, args: Sequence[Known]) -> list[Known]:
    low, high, between = ([int(n) for n in of] for of in zip(*eqn.params["padding_config"], strict=True))
    if any(between) or min(*low, *high) < 0:
        raise InputError("the ONNX export does not support lax.pad between elements or with negative width.")
    name, value = full_operands(graph, eqn, args)
    return _out(eqn, graph.add("Pad", name, graph.integers((*low, *high)), value) if any((*low, *high)) else name)


def _reduce(graph: Graph, eqn: Eqn, args: Sequence[Known]) -> list[Known]:
    operator, logical = REDUCTIONS[eqn.primitive.name]
    (name,), axes = full_operands(graph, eqn, args), graph.integers(eqn.params["axes"])
    if logical:
        name = graph.cast(name, np.int32)
    name = graph.add(operator, name, axes, keepdims=0)
    return _out(eqn, graph.cast(name, bool) if logical else name)


def _argmax(graph: Graph, eqn: Eqn, args: Sequence[Known]) -> list[Known]:
    name = _orderable(graph, eqn.invars[0].aval, full_operands(graph, eqn, args)[0])
    (axis,) = eqn.params["axes"]
    operator = "ArgMax" if eqn.primitive.name == "argmax" else "ArgMin"
    return _out(eqn, graph.cast(graph.add(operator, name, axis=axis, keepdims=0), eqn.params["index_dtype"]))


def _sort(graph: Graph, eqn: Eqn, args: Sequence[Known]) -> list[Known]:
    """TopK of all elements, which keeps the order of equal ones like JAX's stable sort."""
    axis, keys = eqn.params["dimension"], eqn.params["num_keys"]
    if keys != 1:
        raise InputError("the ONNX export supports lax.sort by one key only.")
    first, *others = full_operands(graph, eqn, args)
    size = graph.size(eqn.invars[0].aval.shape[axis])
    ordered, order = graph.add_all(
        "TopK", [_orderable(graph, eqn.invars[0].aval, first), size], 2, axis=axis, largest=0, sorted=1
    )
    names = [ordered if eqn.invars[0].aval.dtype != bool else graph.cast(ordered, bool)]
    names += [graph.add("GatherElements", name, order, axis=axis) for name in others]
    return [Value(n, var.aval.shape) for n, var in zip(names, eqn.outvars, strict=True)]


def _top_k(graph: Graph, eqn: Eqn, args: Sequence[Known]) -> list[Known]:
    (name,), axis = full_operands(graph, eqn, args), eqn.params.get("axis", len(eqn.invars[0].aval.shape) - 1)
    values, order = graph.add_all("TopK", [name, graph.integers([eqn.params["k"]])], 2, axis=axis, largest=1, sorted=1)
    order = graph.cast(order, eqn.outvars[1].aval.dtype)
    return [Value(n, var.aval.shape) for n, var in zip((values, order), eqn.outvars, strict=True)]


def _running(graph: Graph, eqn: Eqn, args: Sequence[Known]) -> list[Known]:
    """Cumulative maximum or minimum, element by element, since ONNX has no such operator."""
    axis, length = eqn.params["axis"], eqn.invars[0].aval.shape[eqn.params["axis"]]
    (name,), operator = full_operands(graph, eqn, args), "Max" if eqn.primitive.name == "cummax" else "Min"
    parts = graph.add_all("Split", [name, graph.integers([1] * length)], length, axis=axis)
    parts = parts[::-1] if eqn.params["reverse"] else parts
    for i in range(1, length):
        parts[i] = graph.add(operator, parts[i - 1], parts[i])
    return _out(eqn, graph.add("Concat", *(parts[::-1] if eqn.params["reverse"] else parts), axis=axis))


def _cumsum(graph: Graph, eqn: Eqn, args: Sequence[Known]) -> list[Known]:
    (name,), axis = full_operands(graph, eqn, args), graph.constant(np.int64(eqn.params["axis"]))
    return _out(eqn, graph.add("CumSum", name, axis, reverse=int(eqn.params["reverse"])))


def _orderable(graph: Graph, aval: Any, name: str) -> str:
    """Convert booleans to integers, since ONNX compares numbers only."""
    return graph.cast(name, np.int32) if aval.dtype == bool else name


def _is(dim: Any, value: int) -> bool:
    return isinstance(dim, int) and dim == value


REDUCTIONS: Mapping[str, tuple[str, bool]] = {
    "reduce_and": ("ReduceMin", True),
    "reduce_max": ("ReduceMax", False),
    "reduce_min": ("ReduceMin", False),
    "reduce_or": ("ReduceMax", True),
    "reduce_prod": ("ReduceProd", False),
    "reduce_sum": ("ReduceSum", False),
}
"""Operator, and whether it is for booleans."""

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(REDUCTIONS, _reduce),
    "argmax": _argmax,
    "argmin": _argmax,
    "concatenate": _concatenate,
    "cummax": _running,
    "cummin": _running,
    "cumsum": _cumsum,
    "pad": _pad,
    "reshape": _reshape,
    "slice": _slice,
    "sort": _sort,
    "split": _split,
    "squeeze": _reshape,
    "stack": _stack,
    "top_k": _top_k,
    "transpose": _transpose,
    "unstack": _unstack,
}
