"""Export of networks to other programs, as ONNX, as a .keras file, or as JSON and HDF5 of Keras."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np

import emeraldcut
from emeraldcut.errors import MissingPackageError, UsageError
from emeraldcut.networks.inference import input_shape, walk
from emeraldcut.networks.network import Network
from emeraldcut.runs.chatter import without_chatter

_OPSET = 13  # of ONNX, from 2020, which all programs for ONNX can read


def export_network(network: Network, path: str | Path, *, overwrite: bool = False) -> Path:
    """Writes a network to `path`, in the format of its ending.

    Parameters
    ----------
    network : from `load_network`. Its input are preprocessed images, and its first output are probabilities before
        calibration. The card describes both; an ONNX file has it as metadata.
    path : ends in `.onnx` or `.keras` (needs Keras), or is a folder for `model.json`, `model.weights.h5` and
        `card.json`.

    Raises
    ------
    FileExistsError, ImportError
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"'{path}' exists; choose another name or set --overwrite.")
    if path.suffix == ".onnx":
        onnx = _import("onnx", "onnx", "emeraldcut[export]")
        path.write_bytes(onnx_model(onnx, network).SerializeToString())
    elif path.suffix == ".keras":
        keras = _import("keras", "Keras and TensorFlow", "emeraldcut[train]")
        description = (network.folder / "model.json").read_text()
        model = keras.models.model_from_json(description)
        model.load_weights(network.weights_file)
        model.save(path)
    elif path.suffix:
        raise UsageError(f"a network is exported as .onnx, as .keras or as a folder; received '{path.name}'.")
    else:
        path.mkdir(parents=True, exist_ok=True)
        for file in ("model.json", "card.json"):
            if (network.folder / file).is_file():
                copyfile(network.folder / file, path / file)
        copyfile(network.weights_file, path / network.weights_file.name)
    return path


def _import(module: str, name: str, extra: str) -> Any:
    from importlib import import_module

    try:
        with without_chatter():
            return import_module(module)
    except ImportError as error:
        raise MissingPackageError(f"this format needs {name} ({error}): pip install '{extra}'") from error


def onnx_model(onnx: Any, network: Network) -> Any:
    """The `onnx.ModelProto` of a network: input `images` (n, ny, nx, channels), any n; `probabilities`, `features`."""
    shape = input_shape(network.layers)
    nodes = _OnnxNodes(onnx)
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    found = walk(network.layers, nodes, _Node("images", 4))
    names = ("probabilities", "features")
    for node, name in zip(found, names, strict=True):
        nodes.nodes.append(helper.make_node("Identity", [node.name], [name]))
    graph = helper.make_graph(
        nodes.nodes,
        "network",
        [helper.make_tensor_value_info("images", kind, ["n", *shape])],
        [helper.make_tensor_value_info(name, kind, ["n", None]) for name in names],
        nodes.constants,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        producer_name="emeraldcut",
        producer_version=emeraldcut.__version__,
    )
    model.ir_version = 8
    helper.set_model_props(model, {"card": json.dumps(network.card)})
    onnx.checker.check_model(model, full_check=True)
    return model


class _Node:
    """A tensor of an ONNX graph, with its name and with its rank, which is read as from a node of OpenVINO."""

    def __init__(self, name: str, rank: int, value: np.ndarray | None = None):
        self.name, self.value, self._shape = name, value, [0] * rank

    def get_output_shape(self, _: int) -> list[int]:
        """A list whose length is the rank; its numbers have no meaning."""
        return self._shape

    def numbers(self) -> list[int]:
        """The values of a constant."""
        if self.value is None:
            raise ValueError(f"'{self.name}' is no constant.")
        return [int(value) for value in self.value]


class _OnnxNodes:
    """The functions of OpenVINO's opset1 that `walk` uses, making ONNX nodes."""

    def __init__(self, onnx: Any):
        self._helper, self._as_tensor = onnx.helper, onnx.numpy_helper.from_array
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def _node(self, kind: str, rank: int, *inputs: _Node, **attributes: Any) -> _Node:
        node = _Node(f"{kind}_{len(self.nodes)}".lower(), rank)
        names = [self._named(x) for x in inputs]
        self.nodes.append(self._helper.make_node(kind, names, [node.name], name=node.name, **attributes))
        return node

    def _named(self, node: _Node) -> str:
        """The name of a tensor; a constant is written when something uses it as one."""
        if node.value is not None and not node.name:
            node.name = f"constant_{len(self.constants)}"
            self.constants.append(self._as_tensor(np.ascontiguousarray(node.value), node.name))
        return node.name

    def constant(self, value: Any) -> _Node:
        return _Node("", np.ndim(value), np.asarray(value))

    def transpose(self, x: _Node, order: _Node) -> _Node:
        return self._node("Transpose", len(order.numbers()), x, perm=order.numbers())

    def reshape(self, x: _Node, shape: _Node, special_zero: bool) -> _Node:
        return self._node("Reshape", len(shape.numbers()), x, shape)

    def add(self, x: _Node, y: _Node) -> _Node:
        return self._node("Add", _rank(x, y), x, y)

    def multiply(self, x: _Node, y: _Node) -> _Node:
        return self._node("Mul", _rank(x, y), x, y)

    def matmul(self, x: _Node, y: _Node, transpose_x: bool, transpose_y: bool) -> _Node:
        return self._node("MatMul", 2, x, y)

    def relu(self, x: _Node) -> _Node:
        return self._node("Relu", _rank(x), x)

    def sigmoid(self, x: _Node) -> _Node:
        return self._node("Sigmoid", _rank(x), x)

    def tanh(self, x: _Node) -> _Node:
        return self._node("Tanh", _rank(x), x)

    def softmax(self, x: _Node, axis: int) -> _Node:
        return self._node("Softmax", _rank(x), x, axis=axis)

    def reduce_mean(self, x: _Node, axes: _Node, keep: bool) -> _Node:
        return self._node("ReduceMean", _rank(x) - len(axes.numbers()), x, axes=axes.numbers(), keepdims=int(keep))

    def convolution(self, x: _Node, kernel: _Node, strides, begin, end, dilations, pad: str) -> _Node:
        return self._node("Conv", 4, x, kernel, strides=strides, dilations=dilations, auto_pad=pad.upper())

    def max_pool(self, x: _Node, strides, begin, end, size, rounding: str, pad: str) -> _Node:
        return self._node("MaxPool", 4, x, kernel_shape=size, strides=strides, auto_pad=pad.upper())

    def avg_pool(self, x: _Node, strides, begin, end, size, exclude_pad: bool, rounding: str, pad: str) -> _Node:
        count = int(not exclude_pad)
        return self._node(
            "AveragePool", 4, x, kernel_shape=size, strides=strides, auto_pad=pad.upper(), count_include_pad=count
        )


def _rank(*nodes: _Node) -> int:
    return max(len(node.get_output_shape(0)) for node in nodes)
