"""Elementwise primitives; broadcast operands stay unexpanded (``graph.Value``)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from rgcn_jax.errors import InputError
from rgcn_jax.export.onnx.graph import Graph, Known, Shape, Value

Eqn = Any
Rule = Callable[[Graph, Eqn, Sequence[Known]], list[Known]]

OPERATORS: Mapping[str, str] = {
    "abs": "Abs",
    "add": "Add",
    "ceil": "Ceil",
    "copy": "Identity",
    "cos": "Cos",
    "div": "Div",  # truncates integers too
    "eq": "Equal",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "ge": "GreaterOrEqual",
    "gt": "Greater",
    "le": "LessOrEqual",
    "log": "Log",
    "logistic": "Sigmoid",
    "lt": "Less",
    "max": "Max",
    "min": "Min",
    "mul": "Mul",
    "neg": "Neg",
    "pow": "Pow",
    "sign": "Sign",
    "sin": "Sin",
    "sqrt": "Sqrt",
    "stop_gradient": "Identity",
    "sub": "Sub",
    "tanh": "Tanh",
}
"""JAX primitive -> equivalent ONNX operator, for numbers."""

LOGICAL: Mapping[str, str] = {"and": "And", "not": "Not", "or": "Or", "xor": "Xor"}
"""The same for booleans; for integers JAX computes bitwise."""


def elementwise(build: Callable[[Graph, Eqn, list[str]], str]) -> Rule:
    """A rule of an operation that broadcasts; ``build`` gets the names of the unexpanded operands."""

    def rule(graph: Graph, eqn: Eqn, args: Sequence[Known]) -> list[Known]:
        return [Value(build(graph, eqn, [graph.operand(x) for x in args]), result_shape(eqn, args))]

    return rule


def result_shape(eqn: Eqn, args: Sequence[Known]) -> Shape:
    """1 where every operand is broadcast, otherwise as in JAX."""
    full = eqn.outvars[0].aval.shape
    padded = [(1,) * (len(full) - len(x.shape)) + x.shape for x in args]
    return tuple(1 if all(isinstance(s[i], int) and s[i] == 1 for s in padded) else dim for i, dim in enumerate(full))


def _same_operator(graph: Graph, eqn: Eqn, names: list[str]) -> str:
    name = eqn.primitive.name
    if name in LOGICAL and eqn.outvars[0].aval.dtype != bool:
        raise InputError(f"the ONNX export supports {name} for booleans only, found {eqn.outvars[0].aval.dtype}.")
    return graph.add(OPERATORS.get(name) or LOGICAL[name], *names)


def _integer_pow(graph: Graph, eqn: Eqn, names: list[str]) -> str:
    return graph.add("Pow", *names, graph.constant(np.array(eqn.params["y"], eqn.outvars[0].aval.dtype)))


def _select(graph: Graph, eqn: Eqn, names: list[str]) -> str:
    if eqn.invars[0].aval.dtype != bool:
        raise InputError("the ONNX export supports lax.select_n with a boolean only.")
    which, no, yes = names
    if eqn.outvars[0].aval.dtype == bool:  # ONNX Runtime's Where does not support booleans
        return graph.add("Or", graph.add("And", which, yes), graph.add("And", graph.add("Not", which), no))
    return graph.add("Where", which, yes, no)


def _broadcast(graph: Graph, eqn: Eqn, args: Sequence[Known]) -> list[Known]:
    """Insert dimensions of size 1; operators expand them if necessary."""
    (x,), shape = args, eqn.outvars[0].aval.shape
    placed: list[Any] = [1] * len(shape)
    for dim, size in zip(eqn.params["broadcast_dimensions"], x.shape, strict=True):
        placed[dim] = size
    if isinstance(x, Value):
        return [Value(x.name if tuple(placed) == x.shape else graph.reshape(x.name, tuple(placed)), tuple(placed))]
    return [x.reshape(placed)]


def _iota(graph: Graph, eqn: Eqn, args: Sequence[Known]) -> list[Known]:
    shape, dim = eqn.params["shape"], eqn.params["dimension"]
    if not isinstance(shape[dim], int):
        raise InputError("the ONNX export does not support lax.iota over the batch.")
    counted = np.arange(shape[dim], dtype=eqn.params["dtype"])
    return [counted.reshape([-1 if i == dim else 1 for i in range(len(shape))])]


RULES: Mapping[str, Rule] = {
    **dict.fromkeys((*OPERATORS, *LOGICAL), elementwise(_same_operator)),
    "broadcast_in_dim": _broadcast,
    "clamp": elementwise(lambda graph, _, x: graph.add("Min", graph.add("Max", x[1], x[0]), x[2])),
    "convert_element_type": elementwise(lambda graph, eqn, x: graph.cast(x[0], eqn.params["new_dtype"])),
    "integer_pow": elementwise(_integer_pow),
    "iota": _iota,
    "ne": elementwise(lambda graph, _, x: graph.add("Not", graph.add("Equal", *x))),
    "rem": elementwise(lambda graph, _, x: graph.add("Mod", *x, fmod=1)),
    "rsqrt": elementwise(lambda graph, _, x: graph.add("Reciprocal", graph.add("Sqrt", *x))),
    "select_n": elementwise(_select),
    "square": elementwise(lambda graph, _, x: graph.add("Mul", x[0], x[0])),
}
"""Primitives that accept unexpanded operands."""


def folded(eqn: Eqn, args: Sequence[Known]) -> list[Known] | None:
    """Results of a primitive with constant operands, computed by JAX; None if not possible."""
    if not all(isinstance(x, np.ndarray) for x in args):
        return None
    if not all(isinstance(dim, int) for var in (*eqn.invars, *eqn.outvars) for dim in var.aval.shape):
        return None
    full = [np.broadcast_to(x, var.aval.shape) for x, var in zip(args, eqn.invars, strict=True)]
    with jax.disable_jit(False):
        results = eqn.primitive.bind(*full, **eqn.params)
    return [np.asarray(x) for x in (results if eqn.primitive.multiple_results else [results])]
