"""An ONNX graph under construction: nodes, constants, the symbolic batch, and broadcasts that are made late."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import onnx
from onnx import helper, numpy_helper

from rgcn_jax.errors import InputError

BATCH = "B"
"""Name of the symbolic dimension."""

Shape: TypeAlias = tuple[Any, ...]
"""Of whole numbers, and of multiples of the symbolic batch."""


class Value(NamedTuple):
    """A tensor of the graph. A dimension of its shape is 1 where JAX's value is broadcast: ONNX operators broadcast by
    themselves, so that no copy in the full shape is made for them.
    """

    name: str
    shape: Shape


Known: TypeAlias = Value | np.ndarray
"""A tensor of the graph, or one that does not depend on the inputs (also with 1 where it is broadcast)."""


class Graph:
    """The nodes of a graph, or of the body of a loop in it, which may use what the graph around it has computed.

    Args:
      batch: JAX's symbolic dimension.
      around: the outermost graph, of a body.
    """

    def __init__(self, batch: Any, around: "Graph | None" = None):
        self.batch = batch
        self.root: Graph = around.root if around is not None else self
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._names = 0
        self._sizes: dict[int, str] = {}

    def new_name(self) -> str:
        """A name that no other value of the whole model has."""
        self.root._names += 1
        return f"v{self.root._names}"

    def add_all(self, operator: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        """A node with several outputs; their names."""
        names = [self.new_name() for _ in range(outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), names, **attributes))
        return names

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output; its name."""
        return self.add_all(operator, inputs, 1, **attributes)[0]

    def constant(self, value: Any) -> str:
        """The name of a constant tensor."""
        name = self.new_name()
        self.root.initializers.append(
            numpy_helper.from_array(np.ascontiguousarray(value).reshape(np.shape(value)), name)
        )
        return name

    def integers(self, values: Sequence[int]) -> str:
        """A constant list of int64."""
        return self.constant(np.array(values, np.int64))

    def set_batch(self, name: str) -> None:
        """Takes the batch from the first dimension of an input."""
        shape = self.add("Shape", name)
        self._sizes[1] = self.add("Gather", shape, self.integers([0]))

    def size(self, dim: Any) -> str:
        """A dimension as a tensor [1] of int64."""
        if isinstance(dim, int):
            return self.integers([dim])
        factor = multiple(dim, self.batch)
        root = self.root
        if factor not in root._sizes:
            root._sizes[factor] = root.add("Mul", root._sizes[1], root.integers([factor]))
        return root._sizes[factor]

    def sizes(self, shape: Shape) -> str:
        """A shape as a tensor of int64."""
        if all(isinstance(dim, int) for dim in shape):
            return self.integers(shape)
        return self.add("Concat", *map(self.size, shape), axis=0)

    def operand(self, x: Known) -> str:
        """The name of a value as it is, not broadcast."""
        return x.name if isinstance(x, Value) else self.constant(x)

    def full(self, x: Known, shape: Shape) -> str:
        """The name of a value, broadcast to a shape of the same rank."""
        if x.shape == shape:
            return self.operand(x)
        return self.add("Expand", self.operand(x), self.sizes(shape))

    def reshape(self, name: str, shape: Shape) -> str:
        """A value in another shape, of which at most one dimension is symbolic."""
        if sum(not isinstance(dim, int) for dim in shape) > 1:
            return self.add("Reshape", name, self.sizes(shape))
        return self.add("Reshape", name, self.integers([dim if isinstance(dim, int) else -1 for dim in shape]))

    def transpose(self, name: str, order: Sequence[int]) -> str:
        """A value with its dimensions in another order."""
        return name if list(order) == list(range(len(order))) else self.add("Transpose", name, perm=list(order))

    def cast(self, name: str, dtype: Any) -> str:
        """A value in another type."""
        return self.add("Cast", name, to=tensor_type(dtype))


def multiple(dim: Any, batch: Any) -> int:
    """The factor n of a symbolic dimension n B. Raises InputError where it is anything else."""
    factor, rest = divmod(dim, batch)
    if not isinstance(factor, int) or rest != 0:
        raise InputError(f"the model has a dimension {dim}, and the ONNX export knows multiples of the batch only.")
    return factor


def tensor_type(dtype: Any) -> int:
    """ONNX's number for a NumPy type."""
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def declared(name: str, dtype: Any, shape: Shape) -> onnx.ValueInfoProto:
    """An input or output with its type and shape; a symbolic dimension has a name."""
    dims = [dim if isinstance(dim, int) else str(dim) for dim in shape]
    return helper.make_tensor_value_info(name, tensor_type(dtype), dims)
