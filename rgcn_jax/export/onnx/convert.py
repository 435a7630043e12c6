"""Conversion of a function's jaxpr to an ONNX model, equation by equation: calls are inlined, scan becomes Scan."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from onnx import helper

from rgcn_jax.errors import InputError
from rgcn_jax.export.onnx import elementwise, products, shapes
from rgcn_jax.export.onnx.graph import Graph, Known, Value, declared

OPSET, IR_VERSION = 18, 8
"""Versions of ONNX 1.13, supported by ONNX Runtime 1.14 and later."""

RULES: Mapping[str, elementwise.Rule] = {**elementwise.RULES, **shapes.RULES, **products.RULES}


def to_onnx(function: ClosedJaxpr, inputs: Sequence[str], outputs: Sequence[str], name: str) -> onnx.ModelProto:
    """Convert a function to an ONNX model with named inputs and outputs.

    ``function``: its jaxpr; the first dimension of every input is the symbolic batch.

    Raises:
      InputError: the function uses an unsupported primitive.
    """
    avals: list[Any] = [var.aval for var in function.jaxpr.invars]
    graph = Graph(avals[0].shape[0])
    graph.set_batch(inputs[0])
    values = [Value(n, aval.shape) for n, aval in zip(inputs, avals, strict=True)]
    results = _evaluate(graph, *_opened(function), values)
    found: list[Any] = [var.aval for var in function.jaxpr.outvars]
    for n, result, aval in zip(outputs, results, found, strict=True):
        graph.nodes.append(helper.make_node("Identity", [graph.full(result, aval.shape)], [n]))
    made = helper.make_graph(
        graph.nodes,
        name,
        list(map(declared, inputs, avals)),
        list(map(declared, outputs, found)),
        graph.initializers,
    )
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(made, opset_imports=opsets, ir_version=IR_VERSION, producer_name="rgcn_jax")


def _evaluate(graph: Graph, jaxpr: Jaxpr, consts: Sequence[Known], args: Sequence[Known]) -> list[Known]:
    """Add the nodes of a jaxpr; return its results."""
    known: dict[Any, Known] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))

    def read(var: Any) -> Known:
        dtype = var.aval.dtype
        if _is_empty(var):
            return np.zeros(0, dtype)
        return np.asarray(var.val, dtype) if isinstance(var, Literal) else known[var]

    for eqn in _needed(jaxpr):
        results = _apply(graph, eqn, [read(var) for var in eqn.invars])
        known.update(zip(eqn.outvars, results, strict=True))
    return [read(var) for var in jaxpr.outvars]


def _needed(jaxpr: Jaxpr) -> list[Any]:
    """The equations on which the results depend."""
    used = {var for var in jaxpr.outvars if not isinstance(var, Literal)}
    kept = []
    for eqn in reversed(jaxpr.eqns):
        if used & set(eqn.outvars):
            kept.append(eqn)
            used |= {var for var in eqn.invars if not isinstance(var, Literal) and not _is_empty(var)}
    return kept[::-1]


def _is_empty(var: Any) -> bool:
    """Whether a value has no elements, such as concatenated padding of width 0."""
    return any(isinstance(dim, int) and dim == 0 for dim in var.aval.shape)


def _apply(graph: Graph, eqn: Any, args: list[Known]) -> list[Known]:
    name = eqn.primitive.name
    if name == "scan":
        return _scan(graph, eqn, args)
    if (called := eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))) is not None and name not in ("while", "cond"):
        return _evaluate(graph, *_opened(called), args)
    if name not in RULES:
        raise InputError(
            f"the ONNX export does not support the JAX primitive {name!r}: change the model part that uses it, or omit "
            "onnx from --to."
        )
    if name not in ("broadcast_in_dim", "iota") and (results := elementwise.folded(eqn, args)) is not None:
        return results
    return RULES[name](graph, eqn, args)


def _opened(called: ClosedJaxpr | Jaxpr) -> tuple[Jaxpr, list[Known]]:
    """A jaxpr and its constants, for both kinds of jaxpr, which depend on the version of JAX."""
    if isinstance(called, ClosedJaxpr):
        return called.jaxpr, list(map(np.asarray, called.consts))
    return called, []


def _scan(graph: Graph, eqn: Any, args: list[Known]) -> list[Known]:
    """ONNX's Scan: the carry becomes its states; constants are taken from the outer graph."""
    jaxpr, constants = _opened(eqn.params["jaxpr"])
    reverse, length = int(eqn.params["reverse"]), eqn.params["length"]
    # The operands are constants, carry, and scanned values, which have one dimension more than their slices.
    inner: Any = jaxpr
    num_carry = sum(a.aval.ndim == b.aval.ndim for a, b in zip(eqn.outvars, inner.outvars, strict=True))
    num_scanned = sum(a.aval.ndim != b.aval.ndim for a, b in zip(eqn.invars, inner.invars, strict=True))
    carry = len(eqn.invars) - num_scanned - num_carry
    scan = len(eqn.invars) - num_scanned
    operands = shapes.full_operands(graph, eqn, args)
    same = [Value(n, v.aval.shape) for n, v in zip(operands[:carry], eqn.invars[:carry], strict=True)]
    scanned = operands[scan:] or [graph.constant(np.zeros(length, np.float32))]
    body = Graph(graph.batch, graph)
    own: list[Any] = [var.aval for var in jaxpr.invars[carry:]]
    names = [body.new_name() for _ in own]
    inputs = list(map(declared, names, own))
    if not num_scanned:  # ONNX requires at least one scanned tensor
        inputs.append(declared(body.new_name(), np.zeros((), np.float32)))
    values = [Value(n, aval.shape) for n, aval in zip(names, own, strict=True)]
    results = _evaluate(body, jaxpr, constants, [*same, *values])
    found: list[Any] = [var.aval for var in jaxpr.outvars]
    last = [body.add("Identity", body.full(x, aval.shape)) for x, aval in zip(results, found, strict=True)]
    outputs = list(map(declared, last, found))
    directions = {"scan_input_directions": [reverse] * len(scanned)}
    if stacked := len(found) - num_carry:
        directions["scan_output_directions"] = [reverse] * stacked
    made = graph.add_all(
        "Scan",
        [*operands[carry:scan], *scanned],
        len(found),
        body=helper.make_graph(body.nodes, body.new_name(), inputs, outputs),
        num_scan_inputs=len(scanned),
        **directions,
    )
    return [Value(n, var.aval.shape) for n, var in zip(made, eqn.outvars, strict=True)]
