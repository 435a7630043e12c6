"""An ONNX graph under construction: nodes, constants, the symbolic batch, and lazy broadcasting."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import onnx
from onnx import helper, numpy_helper

from rgcn_jax.errors import InputError

Shape: TypeAlias = tuple[Any, ...]
"""Dimensions: integers, or multiples of the symbolic batch."""


class Value(NamedTuple):
    """A tensor of the graph. Broadcast dimensions have size 1: ONNX operators broadcast implicitly, so no expanded copy
    is made.
    """

    name: str
    shape: Shape


Known: TypeAlias = Value | np.ndarray
"""A tensor of the graph, or a constant (with size 1 in broadcast dimensions)."""


class Graph:
    """Nodes of a graph, or of the body of a loop, which can use values of the graph ``around`` it.

    ``batch``: JAX's symbolic dimension.
    """

    def __init__(self, batch: Any, around: "Graph | None" = None):
        self.batch = batch
        self.root: Graph = around.root if around is not None else self
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._names = 0
        self._sizes: dict[int, str] = {}

    def new_name(self) -> str:
        """A name that is unique in the whole model."""
        self.root._names += 1
        return f"v{self.root._names}"

    def add_all(self, operator: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        """Add a node with several outputs; return their names."""
        names = [self.new_name() for _ in range(outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), names, **attributes))
        return names

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; return its name."""
        return self.add_all(operator, inputs, 1, **attributes)[0]

    def constant(self, value: Any) -> str:
        """Add a constant tensor; return its name."""
        name = self.new_name()
        self.root.initializers.append(
            numpy_helper.from_array(np.ascontiguousarray(value).reshape(np.shape(value)), name)
        )
        return name

    def integers(self, values: Sequence[int]) -> str:
        """Add a constant list of int64; return its name."""
        return self.constant(np.array(values, np.int64))

    def set_batch(self, name: str) -> None:
        """Define the batch size as the first dimension of an input."""
        shape = self.add("Shape", name)
        self._sizes[1] = self.add("Gather", shape, self.integers([0]))

    def size(self, dim: Any) -> str:
        """A dimension as an int64 tensor [1]."""
        if isinstance(dim, int):
            return self.integers([dim])
        factor, rest = divmod(dim, self.batch)
        if not isinstance(factor, int) or rest != 0:
            raise InputError(f"the model has a dimension {dim}: the ONNX export supports multiples of the batch only.")
        root = self.root
        if factor not in root._sizes:
            root._sizes[factor] = root.add("Mul", root._sizes[1], root.integers([factor]))
        return root._sizes[factor]

    def sizes(self, shape: Shape) -> str:
        """A shape as an int64 tensor."""
        if all(isinstance(dim, int) for dim in shape):
            return self.integers(shape)
        return self.add("Concat", *map(self.size, shape), axis=0)

    def operand(self, x: Known) -> str:
        """Name of a value, unexpanded."""
        return x.name if isinstance(x, Value) else self.constant(x)

    def full(self, x: Known, shape: Shape) -> str:
        """Name of a value, expanded to a shape of the same rank."""
        if x.shape == shape:
            return self.operand(x)
        return self.add("Expand", self.operand(x), self.sizes(shape))

    def reshape(self, name: str, shape: Shape) -> str:
        """Reshape a value; at most one dimension may be symbolic."""
        if sum(not isinstance(dim, int) for dim in shape) > 1:
            return self.add("Reshape", name, self.sizes(shape))
        return self.add("Reshape", name, self.integers([dim if isinstance(dim, int) else -1 for dim in shape]))

    def transpose(self, name: str, order: Sequence[int]) -> str:
        """Permute the dimensions of a value."""
        return name if list(order) == list(range(len(order))) else self.add("Transpose", name, perm=list(order))

    def cast(self, name: str, dtype: Any) -> str:
        """Cast a value to another dtype."""
        return self.add("Cast", name, to=tensor_type(dtype))


def tensor_type(dtype: Any) -> int:
    """ONNX's number of a NumPy dtype."""
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def declared(name: str, aval: Any) -> onnx.ValueInfoProto:
    """Declare an input or output with the dtype and shape of an abstract value; symbolic dimensions are named."""
    dims = [dim if isinstance(dim, int) else str(dim) for dim in aval.shape]
    return helper.make_tensor_value_info(name, tensor_type(aval.dtype), dims)
