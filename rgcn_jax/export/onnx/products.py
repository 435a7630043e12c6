"""Convolution, matrix products and gather."""

import string
from collections.abc import Mapping, Sequence

import numpy as np

from rgcn_jax.errors import InputError
from rgcn_jax.export.onnx.elementwise import Eqn, Rule
from rgcn_jax.export.onnx.graph import Graph, Known, Value
from rgcn_jax.export.onnx.shapes import expanded


def _convolution(graph: Graph, eqn: Eqn, args: Sequence[Known]) -> list[Known]:
    params = eqn.params
    if params["batch_group_count"] != 1 or any(d != 1 for d in params["lhs_dilation"]):
        raise InputError("the ONNX export does not support transposed convolutions or batch groups.")
    images, kernel = (var.aval.shape for var in eqn.invars)
    spec = params["dimension_numbers"]
    low, high = zip(*params["padding"], strict=True)
    if isinstance(args[1], np.ndarray):  # transpose a constant once, here
        weights = graph.constant(np.broadcast_to(args[1], kernel).transpose(spec.rhs_spec))
    else:
        weights = graph.transpose(graph.full(args[1], kernel), spec.rhs_spec)
    name = graph.add(
        "Conv",
        graph.transpose(graph.full(args[0], images), spec.lhs_spec),
        weights,
        strides=list(params["window_strides"]),
        pads=[*low, *high],
        dilations=list(params["rhs_dilation"]),
        group=params["feature_group_count"],
    )
    out = eqn.outvars[0].aval
    return [Value(_typed(graph, eqn, graph.transpose(name, np.argsort(spec.out_spec).tolist())), out.shape)]


def _product(graph: Graph, eqn: Eqn, names: list[str]) -> str:
    (of_left, of_right), (batch_left, batch_right) = eqn.params["dimension_numbers"]
    left, right = (len(var.aval.shape) for var in eqn.invars)
    if not batch_left and tuple(of_left) == (left - 1,) and tuple(of_right) == (0,) and right == 2:
        name = graph.add("MatMul", *names)
    else:
        letters = iter(string.ascii_lowercase)
        a = [next(letters) for _ in range(left)]
        b = [next(letters) for _ in range(right)]
        for i, j in (*zip(of_left, of_right, strict=True), *zip(batch_left, batch_right, strict=True)):
            b[j] = a[i]
        out = [a[i] for i in batch_left]
        out += [x for i, x in enumerate(a) if i not in of_left and i not in batch_left]
        out += [x for j, x in enumerate(b) if j not in of_right and j not in batch_right]
        name = graph.add("Einsum", *names, equation=f"{''.join(a)},{''.join(b)}->{''.join(out)}")
    return _typed(graph, eqn, name)


def _typed(graph: Graph, eqn: Eqn, name: str) -> str:
    """Cast the result to JAX's dtype, if the operands have a smaller one."""
    found, wanted = eqn.invars[0].aval.dtype, eqn.outvars[0].aval.dtype
    return name if found == wanted else graph.cast(name, wanted)


def _gather(graph: Graph, eqn: Eqn, names: list[str]) -> str:
    """A slice with a computed start, or whole rows at computed indices, which are in range in these models."""
    operand, indices = (var.aval for var in eqn.invars)
    dims, sizes = eqn.params["dimension_numbers"], eqn.params["slice_sizes"]
    name, where = names[0], graph.cast(names[1], np.int64)
    taken = (*dims.collapsed_slice_dims, *dims.operand_batching_dims)
    partial = [i for i in range(len(sizes)) if i not in taken and sizes[i] != operand.shape[i]]
    if partial:
        if len(indices.shape) != 1:
            raise InputError("the ONNX export does not support lax.gather of several slices.")
        axes = dims.start_index_map
        length = graph.integers([sizes[i] for i in axes])
        name = graph.add("Slice", name, where, graph.add("Add", where, length), graph.integers(axes))
        return graph.reshape(name, eqn.outvars[0].aval.shape) if taken else name
    batching, axes = dims.operand_batching_dims, dims.start_index_map
    if tuple(sorted(axes)) != tuple(sorted(dims.collapsed_slice_dims)):
        raise InputError("the ONNX export does not support lax.gather of slices that keep an indexed dimension.")
    rest = [i for i in range(len(operand.shape)) if i not in batching and i not in axes]
    own = [i for i in range(len(indices.shape) - 1) if i not in dims.start_indices_batching_dims]
    name = graph.transpose(name, [*batching, *axes, *rest])
    where = graph.transpose(where, [*dims.start_indices_batching_dims, *own, len(indices.shape) - 1])
    name = graph.add("GatherND", name, where, batch_dims=len(batching))
    # Dimensions found: batching, own, rest. Expected: those of the indices in their order, the rest at offset_dims.
    found = [("i", i) for i in (*dims.start_indices_batching_dims, *own)] + [("o", i) for i in range(len(rest))]
    of_indices = iter(sorted(label for label in found if label[0] == "i"))
    of_offsets = iter(label for label in found if label[0] == "o")
    wanted = [next(of_offsets if i in dims.offset_dims else of_indices) for i in range(len(found))]
    return graph.transpose(name, [found.index(label) for label in wanted])


RULES: Mapping[str, Rule] = {
    "conv_general_dilated": _convolution,
    "dot_general": expanded(_product),
    "gather": expanded(_gather),
}
