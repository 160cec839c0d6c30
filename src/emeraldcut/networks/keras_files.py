"""Network files of Keras, read with json and h5py so that classifying galaxies does not need Keras."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from emeraldcut.errors import UsageError
from emeraldcut.runs.reading import open_hdf5

# Supported kinds of layers, and the names of those with weights in the `.weights.h5` of Keras 3.
KINDS = (
    "InputLayer", "Conv2D", "BatchNormalization", "Activation", "ReLU", "Softmax", "Add", "MaxPooling2D",
    "AveragePooling2D", "GlobalAveragePooling2D", "Dropout", "Flatten", "Dense", "Rescaling",
)  # fmt: skip
WEIGHTED = {"Conv2D": "conv2d", "BatchNormalization": "batch_normalization", "Dense": "dense"}


@dataclass(frozen=True)
class Layer:
    """One layer of a network: its Keras class name, the names of its inputs, its settings and its weights.

    `weights` have the order and layout of Keras: (kernel, bias) with kernels (height, width, in, out) or (in, out), and
    (gamma, beta, mean, variance) for a batch normalisation.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    parameters: dict[str, Any] = field(repr=False)
    weights: tuple[np.ndarray, ...] = field(default=(), repr=False)


def read_keras(architecture: Path | None, weights: Path) -> list[Layer]:
    """The layers of a network, each of them after its inputs; the last one is the output.

    Parameters
    ----------
    architecture : path of a `.json` file of Keras 2 or 3; None if `weights` is a whole saved model.
    weights : path of a Keras 3 `.weights.h5`, a Keras 2 weights file, or a whole model saved as `.h5`.

    Raises
    ------
    ValueError
        If a file is not of Keras, or the network has a layer that is not in `KINDS`.
    """
    try:
        with open_hdf5(weights) as file:
            text = file.attrs.get("model_config") if architecture is None else Path(architecture).read_text()
            if text is None:
                raise UsageError(f"'{weights}' holds weights alone; put the network's model.json into the same folder.")
            layers = read_architecture(json.loads(text))
            arrays = _legacy_weights(file) or _keras3_weights(file, layers)
        return _with_weights(layers, arrays)
    except UsageError:
        raise
    except Exception as error:  # of JSON, of HDF5, or of a description of something else
        reason = str(error).split("\n")[0].rstrip(".") or type(error).__name__
        raise UsageError(f"network file '{architecture or weights}' cannot be read: {reason}.") from error


def read_architecture(description: dict[str, Any]) -> list[Layer]:
    """The layers, without weights, of the JSON `description` of a Keras 2 or 3 model."""
    kind: str | None = description.get("class_name")
    config: Any = description.get("config")
    if kind == "Sequential":
        layers = _sequential(config if isinstance(config, list) else config["layers"])
    elif kind in ("Functional", "Model"):
        layers = _functional(config)
    else:
        raise UsageError(f"a Keras network is 'Sequential', 'Functional' or 'Model'; received '{kind}'.")
    for layer in layers:
        _check_supported(layer)
    return layers


def _sequential(entries: Sequence[dict]) -> list[Layer]:
    """A chain of layers; Keras 2 keeps the input's shape in the first layer instead of an InputLayer."""
    first = entries[0]["config"]
    layers = []
    if entries[0]["class_name"] != "InputLayer":
        shape = first.get("batch_input_shape") or entries[0].get("build_config", {}).get("input_shape")
        layers.append(Layer("input", "InputLayer", (), {"batch_shape": shape}))
    for entry in entries:
        inputs = (layers[-1].name,) if layers else ()
        layers.append(Layer(entry["config"]["name"], entry["class_name"], inputs, entry["config"]))
    return layers


def _functional(config: dict) -> list[Layer]:
    """The layers of a graph; Keras writes them by depth, each after its inputs and the output last."""
    layers: list[Layer] = []
    for entry in config["layers"]:
        nodes = entry["inbound_nodes"]
        if len(nodes) > 1:
            raise UsageError(f"layer '{entry['name']}' is used {len(nodes)} times; expected once.")
        inputs = tuple(_tensor_names(nodes[0])) if nodes else ()
        if not {layer.name for layer in layers}.issuperset(inputs):
            raise UsageError(f"layer '{entry['name']}' comes before its inputs {', '.join(inputs)}.")
        layers.append(Layer(entry["name"], entry["class_name"], inputs, entry["config"]))
    outputs = config["output_layers"]
    outputs = outputs if isinstance(outputs[0], list) else [outputs]
    if [output[0] for output in outputs] != [layers[-1].name]:
        raise UsageError(f"a network needs one output, its last layer; received {outputs}.")
    return layers


def _tensor_names(node: Any) -> list[str]:
    """Names of the layers that feed an inbound node, of Keras 3 (dict) or Keras 2 (nested lists)."""
    if isinstance(node, dict):
        if node.get("class_name") == "__keras_tensor__":
            return [node["config"]["keras_history"][0]]
        return [name for part in node.get("args", ()) for name in _tensor_names(part)]
    if isinstance(node, list) and node and isinstance(node[0], str):
        return [node[0]]
    return [name for part in node for name in _tensor_names(part)] if isinstance(node, list) else []


def _check_supported(layer: Layer) -> None:
    """ValueError if `layer` would not be computed as in Keras."""
    if layer.kind not in KINDS:
        raise UsageError(f"layer '{layer.name}' is a {layer.kind}; supported layers are {', '.join(KINDS)}.")
    needed = {
        "data_format": ("channels_last", None),
        "groups": (1, None),
        "dilation_rate": ([1, 1], 1, None),
        "max_value": (None,),
        "threshold": (0, None),
        "negative_slope": (0, None),
        "keepdims": (False, None),
    }
    for name, allowed in needed.items():
        if layer.parameters.get(name) not in allowed:
            raise UsageError(f"layer '{layer.name}' has {name} = {layer.parameters[name]!r}; expected {allowed[0]!r}.")
    if layer.kind == "BatchNormalization" and layer.parameters["axis"] not in (-1, 3, [-1], [3], [1], 1):
        axis = layer.parameters["axis"]
        raise UsageError(f"layer '{layer.name}' normalises axis {axis}; expected the last one.")


def _legacy_weights(file: Any) -> list[list[np.ndarray]]:
    """Weights in the layout of Keras 2 (`layer_names`, `weight_names`), one list per weighted layer."""
    root = file.get("model_weights", file)
    text = lambda name: name.decode() if isinstance(name, bytes) else str(name)  # noqa: E731
    groups = [root[text(name)] for name in root.attrs.get("layer_names", ())]
    arrays = [[np.asarray(group[text(name)]) for name in group.attrs["weight_names"]] for group in groups]
    return [weights for weights in arrays if weights]


def _keras3_weights(file: Any, layers: list[Layer]) -> list[list[np.ndarray]]:
    """Weights in the layout of `.weights.h5`: groups named by class and order (`conv2d`, `conv2d_1` ...).

    Versions differ in the folder above (`layers` or `_layer_checkpoint_dependencies`) and, on Windows, the
    separator.
    """
    found: dict[str, dict[int, np.ndarray]] = {}

    def visit(path: str, item: Any) -> None:
        match = re.fullmatch(r"(?:.*/)?([^/]+)/vars/(\d+)", path.replace("\\", "/"))
        if match and hasattr(item, "shape"):
            found.setdefault(match[1], {})[int(match[2])] = np.asarray(item)

    file.visititems(visit)
    arrays, count = [], dict.fromkeys(WEIGHTED, 0)
    for layer in layers:
        if layer.kind in WEIGHTED:
            key = WEIGHTED[layer.kind] + (f"_{count[layer.kind]}" if count[layer.kind] else "")
            count[layer.kind] += 1
            if key in found:
                arrays.append([found[key][i] for i in sorted(found[key])])
    return arrays


def _with_weights(layers: list[Layer], arrays: list[list[np.ndarray]]) -> list[Layer]:
    """`layers` with their weights, which are matched by order as in Keras."""
    weighted = [layer.name for layer in layers if layer.kind in WEIGHTED]
    if len(arrays) != len(weighted):
        raise UsageError(
            f"the network has {len(weighted)} layers with weights but its weights file holds {len(arrays)}; "
            "use the .json and .h5 files of one network."
        )
    by_name = dict(zip(weighted, arrays, strict=True))
    result = []
    for layer in layers:
        weights = tuple(np.asarray(w, dtype=np.float32) for w in by_name.get(layer.name, ()))
        _check_weights(layer, weights)
        result.append(Layer(layer.name, layer.kind, layer.inputs, layer.parameters, weights))
    return result


def _check_weights(layer: Layer, weights: tuple[np.ndarray, ...]) -> None:
    """ValueError if the number of weights or of output channels does not fit the architecture, or one is not finite."""
    if layer.kind not in WEIGHTED:
        return
    if not all(np.isfinite(w).all() for w in weights):
        raise UsageError(f"layer '{layer.name}' has weights that are not finite; train the network again.")
    p = layer.parameters
    if layer.kind == "BatchNormalization":
        expected = 2 + bool(p.get("center", True)) + bool(p.get("scale", True))
        channels = weights[0].shape[-1]
    else:
        expected, channels = 1 + bool(p.get("use_bias", True)), p.get("filters", p.get("units"))
    if len(weights) != expected or any(w.shape[-1] != channels for w in weights):
        shapes = ", ".join(str(w.shape) for w in weights)
        raise UsageError(
            f"layer '{layer.name}' expects {expected} arrays with {channels} output channels; "
            f"its weights file has shapes {shapes}; use the .json and .h5 files of one network."
        )
