"""A Keras network as an OpenVINO graph: channels first, batch normalisation folded, 32-bit floats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from emeraldcut.errors import UsageError
from emeraldcut.networks.keras_files import Layer


class Predictor:
    """A compiled network, to be called with images (n, ny, nx) or (n, ny, nx, channels) float32.

    It returns its outputs (m, n_outputs) and its features (m, d), the input of its last layer, both float32. If a mask
    (n,) is given, only the m images where it is True are classified.

    Parameters
    ----------
    layers : from `read_keras`.
    threads : number of threads; a screening runs one process per core instead.
    precision : "f32", or "bf16", which is several times faster on processors that have it. It is always set, because
        OpenVINO would choose bf16 where it can, by which probabilities differ by 5e-4 (up to 0.03) between machines.
    batch_size : images per call. All calls have this size, so that a result does not depend on the other images.
    """

    def __init__(self, layers: list[Layer], *, threads: int = 1, precision: str = "f32", batch_size: int = 64):
        import openvino

        options = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
        options["ENABLE_CPU_PINNING"] = False  # it would pin each of several processes to the same core, one by one
        self._compiled = openvino.Core().compile_model(build_graph(layers, batch_size), "CPU", options)
        self.batch_size = batch_size
        self.shape = input_shape(layers)

    def __call__(self, images: np.ndarray, chosen: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (m, classes) and features (m, d) of inputs (n, ...), or of those where `chosen` (n,) is True.

        Raises ValueError for inputs whose shape the network does not expect.
        """
        images = np.asarray(images, dtype=np.float32)
        shape = self.shape if self.shape[2] > 1 else self.shape[:2]
        if images.shape[1:] != shape:
            expected = ", ".join(map(str, ("n", *shape)))
            raise UsageError(f"the network expects images of shape ({expected}); received {images.shape}.")
        outputs = [[np.zeros((0, self._compiled.output(k).shape[1]), np.float32)] for k in range(2)]
        batch = np.zeros((self.batch_size, *self.shape), dtype=np.float32)
        rows = np.arange(len(images)) if chosen is None else np.flatnonzero(chosen)
        for start in range(0, len(rows), self.batch_size):
            part = rows[start : start + self.batch_size]
            batch[: len(part)] = images[part].reshape(-1, *self.shape)
            batch[len(part) :] = 0
            answer = self._compiled(batch)
            for k in range(2):
                outputs[k].append(answer[k][: len(part)].copy())
        return np.concatenate(outputs[0]), np.concatenate(outputs[1])


def input_shape(layers: list[Layer]) -> tuple[int, int, int]:
    """(ny, nx, channels) of the images that the network takes; ValueError if it takes several inputs."""
    inputs = [layer for layer in layers if layer.kind == "InputLayer"]
    shapes = [p.get("batch_shape") or p.get("batch_input_shape") for p in (i.parameters for i in inputs)]
    shape = shapes[0] if len(shapes) == 1 else None
    if not shape or len(shape) != 4 or None in shape[1:]:
        raise UsageError(f"a network needs one input of shape (ny, nx, channels); received {shapes}.")
    return shape[1], shape[2], shape[3]


def build_graph(layers: list[Layer], batch_size: int) -> Any:
    """The `openvino.Model` of a network: input (batch_size, ny, nx, channels), outputs and features."""
    import openvino
    from openvino import opset1, opset8

    ny, nx, channels = input_shape(layers)
    parameter = opset8.parameter([batch_size, ny, nx, channels], np.float32)
    outputs, features = walk(layers, opset1, parameter)
    return openvino.Model([outputs, features], [parameter], "network")


def walk(layers: list[Layer], ops: Any, images: Any) -> tuple[Any, Any]:
    """The outputs and features of a network whose input is the node `images` (n, ny, nx, channels).

    `ops` makes nodes: OpenVINO's opset1, or `export._OnnxNodes`, which has the same functions.
    """
    layers = fold_batch_normalisation(layers)
    first = ops.transpose(images, ops.constant(np.array([0, 3, 1, 2])))
    tensors: dict[str, Any] = {}
    for layer in layers:
        inputs = [tensors[name] for name in layer.inputs]
        tensors[layer.name] = _BUILDERS[layer.kind](ops, layer, *inputs) if inputs else first
    last = next((layer for layer in reversed(layers) if layer.kind not in ("Activation", "Softmax")), layers[-1])
    seen = last.inputs[0] if last.kind == "Dense" else layers[-1].name
    return tensors[layers[-1].name], tensors[seen]


def fold_batch_normalisation(layers: list[Layer]) -> list[Layer]:
    """The network with each batch normalisation merged into a linear convolution that only it follows.

    With scale s = gamma / sqrt(variance + epsilon): s (k * x + b - mean) + beta = (s k) * x + (s (b - mean) + beta).
    """
    users: dict[str, int] = {}
    for layer in layers:
        for name in layer.inputs:
            users[name] = users.get(name, 0) + 1
    result: dict[str, Layer] = {}
    for layer in layers:
        before = result.get(layer.inputs[0]) if layer.inputs else None
        if before is not None and layer.kind == "BatchNormalization" and _foldable(before) and users[before.name] == 1:
            scale, shift = scale_and_shift(layer)
            kernel, bias = (*before.weights, np.float32(0))[:2]
            del result[before.name]
            parameters = {**before.parameters, "use_bias": True}
            weights = (kernel * scale, np.broadcast_to(bias * scale + shift, scale.shape))
            layer = Layer(layer.name, "Conv2D", before.inputs, parameters, weights)
        result[layer.name] = layer
    return list(result.values())


def _foldable(layer: Layer) -> bool:
    """Whether a layer is linear, so that a scale of its channels can be merged into it."""
    return layer.kind == "Conv2D" and _activation(layer) == "linear"


def scale_and_shift(layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    """(channels,) arrays with which a trained batch normalisation is `scale * x + shift`."""
    *affine, mean, variance = (w.astype(np.float64) for w in layer.weights)
    gamma = affine.pop(0) if layer.parameters.get("scale", True) else np.ones_like(mean)
    beta = affine.pop(0) if layer.parameters.get("center", True) else np.zeros_like(mean)
    scale = gamma / np.sqrt(variance + layer.parameters["epsilon"])
    return scale.astype(np.float32), (beta - mean * scale).astype(np.float32)


def _activation(layer: Layer) -> str:
    """The name of a layer's activation; Keras 3 may write it as a dict."""
    value = layer.parameters.get("activation", "linear")
    return value["config"] if isinstance(value, dict) else value or "linear"


def _activated(ops: Any, layer: Layer, x: Any, name: str | None = None) -> Any:
    name = name or _activation(layer)
    rank = len(x.get_output_shape(0))
    if name == "softmax" and rank == 2 and layer.parameters.get("axis", -1) in (-1, 1, [-1], [1]):
        return ops.softmax(x, 1)
    known = {"linear": lambda x: x, "relu": ops.relu, "sigmoid": ops.sigmoid, "tanh": ops.tanh}
    if name not in known:
        raise UsageError(
            f"layer '{layer.name}' has the activation '{name}' on {rank} axes; "
            f"supported are {', '.join(known)}, and softmax on 2 axes."
        )
    return known[name](x)


def _pair(value: Any) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


def _convolution(ops: Any, layer: Layer, x: Any) -> Any:
    p = layer.parameters
    kernel = np.ascontiguousarray(layer.weights[0].transpose(3, 2, 0, 1))  # (out, in, ky, kx)
    pad = {"same": "same_upper", "valid": "valid"}[p["padding"]]
    x = ops.convolution(x, ops.constant(kernel), _pair(p["strides"]), [0, 0], [0, 0], [1, 1], pad)
    if len(layer.weights) > 1:
        x = ops.add(x, ops.constant(np.ascontiguousarray(layer.weights[1])[None, :, None, None]))
    return _activated(ops, layer, x)


def _batch_normalisation(ops: Any, layer: Layer, x: Any) -> Any:
    shape = (1, -1) + (1,) * (len(x.get_output_shape(0)) - 2)
    scale, shift = (array.reshape(shape) for array in scale_and_shift(layer))
    return ops.add(ops.multiply(x, ops.constant(scale)), ops.constant(shift))


def _pooling(ops: Any, layer: Layer, x: Any) -> Any:
    p = layer.parameters
    pad = {"same": "same_upper", "valid": "valid"}[p["padding"]]
    size, strides = _pair(p["pool_size"]), _pair(p["strides"] or p["pool_size"])
    if layer.kind == "MaxPooling2D":
        return ops.max_pool(x, strides, [0, 0], [0, 0], size, "floor", pad)
    return ops.avg_pool(x, strides, [0, 0], [0, 0], size, True, "floor", pad)


def _flatten(ops: Any, layer: Layer, x: Any) -> Any:
    # Keras flattens (ny, nx, channel). Permuting the next kernel instead was measured to be no faster.
    if len(x.get_output_shape(0)) == 4:
        x = ops.transpose(x, ops.constant(np.array([0, 2, 3, 1])))
    return ops.reshape(x, ops.constant(np.array([0, -1])), True)


def _dense(ops: Any, layer: Layer, x: Any) -> Any:
    if len(x.get_output_shape(0)) != 2:
        raise UsageError(f"layer '{layer.name}' is a Dense on an image; it needs a Flatten before it.")
    x = ops.matmul(x, ops.constant(layer.weights[0]), False, False)
    if len(layer.weights) > 1:
        x = ops.add(x, ops.constant(layer.weights[1][None]))
    return _activated(ops, layer, x)


def _add(ops: Any, layer: Layer, first: Any, *others: Any) -> Any:
    for other in others:
        first = ops.add(first, other)
    return first


def _rescaling(ops: Any, layer: Layer, x: Any) -> Any:
    scale, offset = (np.float32(layer.parameters[name]) for name in ("scale", "offset"))
    return ops.add(ops.multiply(x, ops.constant(scale)), ops.constant(offset))


_BUILDERS: dict[str, Callable] = {
    "Conv2D": _convolution,
    "BatchNormalization": _batch_normalisation,
    "Activation": _activated,
    "ReLU": lambda ops, layer, x: ops.relu(x),
    "Softmax": lambda ops, layer, x: _activated(ops, layer, x, "softmax"),
    "Add": _add,
    "MaxPooling2D": _pooling,
    "AveragePooling2D": _pooling,
    "GlobalAveragePooling2D": lambda ops, layer, x: ops.reduce_mean(x, ops.constant(np.array([2, 3])), False),
    "Dropout": lambda ops, layer, x: x,  # active in training only
    "Flatten": _flatten,
    "Dense": _dense,
    "Rescaling": _rescaling,
}
