"""Network files, inference, preprocessing and training, against plain numpy, Keras and analytic values."""

import importlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from shutil import copytree

import h5py
import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import correlate2d
from scipy.special import softmax

from emeraldcut.data.flags import Flag
from emeraldcut.data.imageset import ImageSet
from emeraldcut.errors import UsageError
from emeraldcut.frame import frame_galaxies, known_psf, stamp
from emeraldcut.galaxies import draw_galaxy, synthesise
from emeraldcut.galaxies.profiles import Sersic
from emeraldcut.galaxies.shapes import superellipse
from emeraldcut.isophotes import measure
from emeraldcut.networks import Network, TrainSettings, export_network, load_network, save_network, train
from emeraldcut.networks.calibration import (
    IDENTITY,
    SNR_BINS,
    calibrate,
    expected_calibration_error,
    fit_calibration,
    fit_sets,
    in_set,
    snr_bin,
)
from emeraldcut.networks.export import onnx_model
from emeraldcut.networks.inference import Predictor, build_graph, fold_batch_normalisation
from emeraldcut.networks.keras_files import Layer, read_architecture, read_keras
from emeraldcut.networks.openset import OpenSet, fit_open_set
from emeraldcut.networks.preprocessing import (
    _RING_WEIGHTS,
    RingWeights,
    _fold,
    area_average,
    folded_maps,
    prepare,
)
from emeraldcut.networks.train import RECIPES, split_by_galaxy
from tests.helpers import from_python

fold = from_python(_fold)
train_module = importlib.import_module("emeraldcut.networks.train")


@pytest.fixture
def rng():
    return np.random.default_rng(1)


@pytest.fixture(scope="module")
def keras():
    return pytest.importorskip("keras")


# --- plain numpy, written for these tests
# -----------------------------------------------------------------------------


def convolve(x, kernel, bias=0.0, padding="valid", stride=1):
    """x (ny, nx, in), kernel (ky, kx, in, out) -> (my, mx, out), as TensorFlow pads and strides."""
    if padding == "same":
        sides = zip(x.shape[:2], kernel.shape[:2], strict=True)
        need = [max((-(-n // stride) - 1) * stride + k - n, 0) for n, k in sides]
        x = np.pad(x, [(n // 2, n - n // 2) for n in need] + [(0, 0)])
    out = [
        sum(correlate2d(x[..., i], kernel[..., i, o], "valid") for i in range(x.shape[-1]))
        for o in range(kernel.shape[-1])
    ]
    return np.stack(out, axis=-1)[::stride, ::stride] + bias


def pool(x, reduce):
    ny, nx, c = x.shape
    return reduce(x[: ny // 2 * 2, : nx // 2 * 2].reshape(ny // 2, 2, nx // 2, 2, c), axis=(1, 3))


def conv(name, inputs, weights, **parameters):
    parameters = {"filters": weights[0].shape[-1], "padding": "same", "strides": [1, 1], **parameters}
    return Layer(name, "Conv2D", inputs, parameters, weights)


# --- inference
# --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(7, 9), (8, 6)])
def test_graph_agrees_with_plain_numpy(rng, padding, stride, size):
    k1, b1, k2 = rng.normal(size=(3, 3, 1, 4)), rng.normal(size=4), rng.normal(size=(3, 3, 4, 4))
    gamma, beta, mean, variance = rng.normal(size=(4, 4)) ** 2 + 0.1
    image = rng.normal(size=(5, *size)).astype(np.float32)
    truth = []
    for x in image[..., None]:
        a = np.maximum(convolve(x, k1, b1, padding, stride), 0)
        b = (convolve(a, k2, 0.0, "same") - mean) / np.sqrt(variance + 1e-3) * gamma + beta
        truth.append(pool(a + b, np.max).ravel())
    truth = np.array(truth)
    dense, bias = rng.normal(size=(truth.shape[1], 3)) / 10, rng.normal(size=3)
    f32 = [np.float32(w) for w in (k1, b1, k2, gamma, beta, mean, variance, dense, bias)]
    layers = [
        Layer("in", "InputLayer", (), {"batch_shape": [None, *size, 1]}),
        conv("a", ("in",), tuple(f32[:2]), padding=padding, strides=[stride, stride], activation="relu"),
        conv("c", ("a",), (f32[2],), activation="linear", use_bias=False),
        Layer("bn", "BatchNormalization", ("c",), {"epsilon": 1e-3, "axis": -1}, tuple(f32[3:7])),
        Layer("add", "Add", ("a", "bn"), {}),
        Layer("pool", "MaxPooling2D", ("add",), {"pool_size": [2, 2], "strides": [2, 2], "padding": "valid"}),
        Layer("drop", "Dropout", ("pool",), {"rate": 0.5}),
        Layer("flat", "Flatten", ("drop",), {}),
        Layer("out", "Dense", ("flat",), {"units": 3, "activation": "softmax"}, tuple(f32[7:])),
    ]
    assert "BatchNormalization" not in {layer.kind for layer in fold_batch_normalisation(layers)}
    np.testing.assert_allclose(
        Predictor(layers, batch_size=2)(image)[0], softmax(truth @ dense + bias, axis=1), atol=1e-5
    )


def test_batch_normalisation_that_cannot_be_folded(rng):
    """After a relu, and where a convolution has a second user, it must stay as it is."""
    kernel, bn = rng.normal(size=(1, 1, 1, 2)), rng.normal(size=(4, 2)) ** 2 + 0.1
    layers = [
        Layer("in", "InputLayer", (), {"batch_shape": [None, 8, 8, 1]}),
        conv("relu", ("in",), (np.float32(kernel),), activation="relu"),
        Layer("bn1", "BatchNormalization", ("relu",), {"epsilon": 0.01}, tuple(np.float32(bn))),
        conv("c", ("in",), (np.float32(kernel),), activation="linear"),
        Layer("bn2", "BatchNormalization", ("c",), {"epsilon": 0.01}, tuple(np.float32(bn))),
        Layer("add", "Add", ("bn1", "bn2", "c"), {}),
        Layer("mean", "AveragePooling2D", ("add",), {"pool_size": 2, "strides": None, "padding": "valid"}),
        Layer("out", "GlobalAveragePooling2D", ("mean",), {}),
    ]
    assert len(fold_batch_normalisation(layers)) == len(layers)
    image = rng.normal(size=(3, 8, 8)).astype(np.float32)
    c = image[..., None] * kernel[0, 0, 0]

    def normalise(x):
        return (x - bn[2]) / np.sqrt(bn[3] + 0.01) * bn[0] + bn[1]

    truth = (normalise(np.maximum(c, 0)) + normalise(c) + c).mean(axis=(1, 2))
    np.testing.assert_allclose(Predictor(layers)(image)[0], truth, atol=1e-5)


def test_a_result_does_not_depend_on_its_neighbours(rng):
    layers = [
        Layer("in", "InputLayer", (), {"batch_shape": [None, 8, 8, 1]}),
        Layer("flat", "Flatten", ("in",), {}),
        Layer("out", "Dense", ("flat",), {"units": 3}, (np.float32(rng.normal(size=(64, 3))),)),
    ]
    predict, image = Predictor(layers, batch_size=4), rng.normal(size=(11, 8, 8))
    whole = predict(image)
    for start, stop in ((0, 1), (3, 9), (10, 11)):
        for part, all_of_it in zip(predict(image[start:stop]), whole, strict=True):
            assert np.array_equal(part, all_of_it[start:stop])
    assert [part.shape for part in predict(image[:0])] == [(0, 3), (0, 64)]
    with pytest.raises(ValueError, match=r"expects images of shape \(n, 8, 8\)"):
        predict(image[:, :7])


def test_the_graph_has_no_hidden_precision(rng):
    """An answer is right to f32 even on processors with bf16, whose relative step is 4e-3."""
    weight = np.float32(rng.normal(size=(64, 1)))
    layers = [
        Layer("in", "InputLayer", (), {"batch_shape": [None, 8, 8, 1]}),
        Layer("flat", "Flatten", ("in",), {}),
        Layer("out", "Dense", ("flat",), {"units": 1}, (weight,)),
    ]
    image = np.float32(1 + rng.random((20, 8, 8)))
    truth = image.reshape(20, -1).astype(float) @ weight
    np.testing.assert_allclose(Predictor(layers)(image)[0], truth, atol=1e-4)
    assert build_graph(layers, 7).input(0).shape == [7, 8, 8, 1]


# --- files
# ------------------------------------------------------------------------------------------------------------


def keras2_files(folder, rng, outputs=3, size=10):
    """A small network of the thesis's kind in the files of Keras 2.2; returns its weights."""
    weights = {
        "conv2d_1": [rng.normal(size=(3, 3, 1, 4)), rng.normal(size=4)],
        "dense_1": [rng.normal(size=(((size - 2) // 2) ** 2 * 4, outputs)) / 10, rng.normal(size=outputs)],
    }
    same = {"trainable": True, "data_format": "channels_last"}
    config = [
        {"class_name": "Conv2D", "config": {"name": "conv2d_1", "batch_input_shape": [None, size, size, 1],
         "filters": 4, "kernel_size": [3, 3], "strides": [1, 1], "padding": "valid", "dilation_rate": [1, 1],
         "activation": "relu", "use_bias": True, **same}},
        {"class_name": "MaxPooling2D", "config": {"name": "max_pooling2d_1", "pool_size": [2, 2],
         "padding": "valid", "strides": [2, 2], **same}},
        {"class_name": "Dropout", "config": {"name": "dropout_1", "rate": 0.25, "noise_shape": None}},
        {"class_name": "Flatten", "config": {"name": "flatten_1", **same}},
        {"class_name": "Dense", "config": {"name": "dense_1", "units": outputs, "activation": "softmax",
         "use_bias": True}},
    ]  # fmt: skip
    model = {"class_name": "Sequential", "config": {"name": "sequential_1", "layers": config}}
    model |= {"keras_version": "2.2.4", "backend": "tensorflow"}
    (folder / "model.json").write_text(json.dumps(model))
    with h5py.File(folder / "model.h5", "w") as file:
        file.attrs["layer_names"] = [layer["config"]["name"].encode() for layer in config]
        for layer in config:
            name = layer["config"]["name"]
            arrays = weights.get(name, [])
            group = file.create_group(name)
            names = [f"{name}/{part}:0".encode() for part in ("kernel", "bias")[: len(arrays)]]
            group.attrs["weight_names"] = names
            for key, array in zip(names, arrays, strict=True):
                group[key.decode()] = np.float32(array)
    return weights


def test_files_of_the_thesis(tmp_path, rng):
    weights = keras2_files(tmp_path, rng)
    image = rng.normal(size=(4, 10, 10)).astype(np.float32)
    truth = []
    for x in image[..., None]:
        x = pool(np.maximum(convolve(x, *weights["conv2d_1"]), 0), np.max)
        truth.append(softmax(x.ravel() @ weights["dense_1"][0] + weights["dense_1"][1]))
    network = load_network(tmp_path)
    assert network.classes == ("oval", "rectangular", "obround")
    assert network.card["preprocessing"] == "raw" and network.open_set is None
    images = ImageSet(image, Table({"id": list("abcd")}))
    np.testing.assert_allclose(network.predict(images), truth, atol=1e-5)


@pytest.mark.slow
def test_keras_reads_the_same_old_weights(tmp_path, rng, keras):
    keras2_files(tmp_path, rng)
    layers = keras.layers
    model = keras.Sequential([keras.Input((10, 10, 1)), layers.Conv2D(4, 3, activation="relu")])
    for layer in (layers.MaxPooling2D(), layers.Dropout(0.25), layers.Flatten(), layers.Dense(3, "softmax")):
        model.add(layer)
    model.load_weights(tmp_path / "model.h5")
    image = rng.normal(size=(4, 10, 10)).astype(np.float32)
    np.testing.assert_allclose(load_network(tmp_path).predictor(image)[0], model(image[..., None]), atol=1e-5)


@pytest.mark.parametrize("path", ["layers/{}/vars/{}", "_layer_checkpoint_dependencies\\{}\\vars/{}"])
def test_weights_named_by_class_and_order(tmp_path, rng, path):
    """As Keras 3 and, on Windows, late versions of Keras 2 name them, whatever the layers are called."""
    weights = keras2_files(tmp_path, rng)
    image = np.float32(rng.normal(size=(2, 10, 10)))
    truth = load_network(tmp_path).predictor(image)[0]
    (tmp_path / "model.h5").unlink()
    with h5py.File(tmp_path / "model.weights.h5", "w") as file:
        for name, arrays in weights.items():
            for i, array in enumerate(arrays):
                file[path.format(name.removesuffix("_1"), i)] = np.float32(array)
    np.testing.assert_array_equal(load_network(tmp_path).predictor(image)[0], truth)


def test_graph_of_keras_2(rng):
    """A Functional model as Keras 2.2 writes it: class `Model`, inputs as nested lists."""
    layers = [
        {"name": "a", "class_name": "InputLayer", "config": {"batch_input_shape": [None, 8, 8, 1]}},
        {"name": "b", "class_name": "Activation", "config": {"activation": "relu"}},
        {"name": "c", "class_name": "Add", "config": {}},
        {"name": "d", "class_name": "GlobalAveragePooling2D", "config": {"data_format": "channels_last"}},
    ]
    for layer, inputs in zip(layers, ("", "a", "ab", "c"), strict=True):
        layer["inbound_nodes"] = [[[name, 0, 0, {}] for name in inputs]] if inputs else []
    config = {"layers": layers, "output_layers": [["d", 0, 0]]}
    found = read_architecture({"class_name": "Model", "config": config})
    image = np.float32(rng.normal(size=(2, 8, 8)))
    truth = (image + np.maximum(image, 0)).mean(axis=(1, 2))
    np.testing.assert_allclose(Predictor(found)(image)[0][:, 0], truth, atol=1e-6)
    with pytest.raises(ValueError, match="'b' comes before its inputs a"):
        read_architecture({"class_name": "Model", "config": {**config, "layers": layers[1:]}})
    with pytest.raises(ValueError, match="one output"):
        config["output_layers"] += [["b", 0, 0]]
        read_architecture({"class_name": "Model", "config": config})


def test_two_outputs_mean_what_the_user_says(tmp_path, rng):
    keras2_files(tmp_path, rng, outputs=2)
    assert load_network(tmp_path).classes == ("oval", "rectangular")
    assert load_network(tmp_path, classes=("rectangular", "obround")).classes == ("rectangular", "obround")
    with pytest.raises(ValueError, match="2 outputs"):
        load_network(tmp_path, classes=("oval", "rectangular", "obround"))


@pytest.mark.slow
def test_every_supported_layer_as_keras(tmp_path, rng, keras):
    """A graph with all kinds, odd names and random weights, from each kind of file that Keras 3 writes."""
    layers = keras.layers
    image = keras.Input((12, 15, 1), name="picture")
    x = layers.Rescaling(0.5, offset=0.1)(image)
    x = layers.Conv2D(4, (3, 5), padding="same", use_bias=False, name="zeta")(x)
    x = layers.ReLU()(layers.BatchNormalization(scale=False)(x))
    y = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="conv2d_9")(x)
    z = layers.Conv2D(4, 1, strides=2, padding="same", name="alpha")(x)
    z = layers.BatchNormalization(center=False)(z)
    x = layers.Activation("relu")(layers.Add()([y, z, y]))
    x = layers.AveragePooling2D(3, strides=1, padding="same")(x)
    x = layers.MaxPooling2D(2, padding="same")(x)
    a = layers.Dense(5, activation="tanh")(layers.Flatten()(x))
    b = layers.Dense(5, use_bias=False)(layers.GlobalAveragePooling2D()(layers.Dropout(0.1)(x)))
    x = layers.BatchNormalization()(layers.Add()([a, b]))
    model = keras.Model(image, layers.Softmax()(layers.Dense(3)(x)))
    weights = [rng.random(w.shape) + (-0.4 if w.ndim > 1 else 0.1) for w in model.get_weights()]
    model.set_weights([np.float32(w) for w in weights])
    (tmp_path / "model.json").write_text(model.to_json())
    model.save_weights(tmp_path / "model.weights.h5")
    model.save(tmp_path / "whole.h5")
    pictures = rng.normal(size=(9, 12, 15)).astype(np.float32)
    truth = model.predict(pictures[..., None], verbose=0)
    assert truth.std(axis=0).min() > 1e-3
    json_file, whole = tmp_path / "model.json", tmp_path / "whole.h5"
    for files in ((json_file, tmp_path / "model.weights.h5"), (json_file, whole), (None, whole)):
        found = read_keras(*files)
        np.testing.assert_allclose(Predictor(found)(pictures)[0], truth, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["thesis", "screener"])
def test_both_networks_without_keras_as_with_it(tmp_path, rng, keras, name):
    recipe = RECIPES[name]
    model = recipe.build(keras, len(recipe.CLASSES))
    model.set_weights([w + np.float32(0.05 * rng.random(w.shape)) for w in model.get_weights()])
    card = {"classes": list(recipe.CLASSES), "input_size": recipe.SIZE, "preprocessing": "raw"}
    card |= {"calibration": IDENTITY}
    network = load_network(save_network(model, tmp_path / "network", card))
    images = rng.normal(size=(5, *model.input_shape[1:])).astype(np.float32)
    truth, features = keras.Model(model.inputs, [model.outputs[0], model.layers[-1].input]).predict(images, verbose=0)
    found = network.predictor(images if images.shape[3] > 1 else images[..., 0])
    np.testing.assert_allclose(found[0], truth, atol=1e-5)
    np.testing.assert_allclose(found[1], features, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["thesis", "screener"])
def test_exported_networks_give_the_same(tmp_path, rng, keras, name):
    """OpenVINO reads the ONNX file, Keras its own, and we the folder."""
    pytest.importorskip("onnx")
    import openvino

    recipe = RECIPES[name]
    model = recipe.build(keras, len(recipe.CLASSES))
    model.set_weights([w + np.float32(0.05 * rng.random(w.shape)) for w in model.get_weights()])
    card = {"classes": list(recipe.CLASSES), "input_size": recipe.SIZE, "preprocessing": "raw"}
    network = load_network(save_network(model, tmp_path / "network", card | {"calibration": IDENTITY}))
    images = rng.normal(size=(5, *model.input_shape[1:])).astype(np.float32)
    truth = model.predict(images, verbose=0)
    core = openvino.Core()
    read = core.compile_model(core.read_model(export_network(network, tmp_path / "n.onnx")), "CPU",
                              {"INFERENCE_PRECISION_HINT": "f32"})  # fmt: skip
    np.testing.assert_allclose(read({"images": images})["probabilities"], truth, atol=1e-5)
    np.testing.assert_allclose(
        keras.models.load_model(export_network(network, tmp_path / "n.keras")).predict(images, verbose=0), truth,
        atol=1e-5)  # fmt: skip
    again = load_network(export_network(network, tmp_path / "copy"))
    np.testing.assert_allclose(again.predictor(images if images.shape[3] > 1 else images[..., 0])[0], truth, atol=1e-5)
    with pytest.raises(FileExistsError, match="overwrite"):
        export_network(network, tmp_path / "n.onnx")
    with pytest.raises(ValueError, match="as .onnx, as .keras or as a folder"):
        export_network(network, tmp_path / "n.pth")


def test_every_layer_in_onnx_as_here(rng):
    """The network of `test_batch_normalisation_that_cannot_be_folded`, with pools and all activations."""
    onnx = pytest.importorskip("onnx")
    import openvino

    kernel, bn = np.float32(rng.normal(size=(3, 3, 1, 2))), np.float32(rng.normal(size=(4, 2)) ** 2 + 0.1)
    layers = [
        Layer("in", "InputLayer", (), {"batch_shape": [None, 9, 8, 1]}),
        Layer("scale", "Rescaling", ("in",), {"scale": 0.5, "offset": 0.1}),
        conv("relu", ("scale",), (kernel,), activation="relu", strides=[2, 2]),
        Layer("bn", "BatchNormalization", ("relu",), {"epsilon": 0.01}, tuple(bn)),
        Layer("a", "AveragePooling2D", ("bn",), {"pool_size": 3, "strides": 1, "padding": "same"}),
        Layer("b", "MaxPooling2D", ("bn",), {"pool_size": 3, "strides": 1, "padding": "same"}),
        Layer("add", "Add", ("a", "b"), {}),
        Layer("tanh", "Activation", ("add",), {"activation": "tanh"}),
        Layer("sigmoid", "Activation", ("tanh",), {"activation": "sigmoid"}),
        Layer("mean", "GlobalAveragePooling2D", ("sigmoid",), {}),
        Layer("out", "Softmax", ("mean",), {}),
    ]
    images = np.float32(rng.normal(size=(6, 9, 8)))
    model = onnx_model(onnx, Network("all", layers, {}))
    core = openvino.Core()
    read = core.compile_model(core.read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = read({"images": images[..., None]})
    for name, truth in zip(("probabilities", "features"), Predictor(layers)(images), strict=True):
        np.testing.assert_allclose(found[name], truth, atol=1e-6)


def test_a_network_is_read_again_when_its_files_change(tmp_path, rng):
    keras2_files(tmp_path, rng)
    first = load_network(tmp_path)
    assert load_network(tmp_path) is first
    keras2_files(tmp_path, rng, outputs=2)
    assert len(load_network(tmp_path).classes) == 2


def test_unusable_files_are_explained(tmp_path, rng):
    with pytest.raises(FileNotFoundError, match="found no"):
        load_network(tmp_path / "absent")
    with pytest.raises(ValueError, match="one .h5 file"):
        load_network(tmp_path)
    keras2_files(tmp_path, rng)
    description = json.loads((tmp_path / "model.json").read_text())
    wrong = json.loads(json.dumps(description).replace('"Flatten"', '"LSTM"'))
    with pytest.raises(ValueError, match="'flatten_1' is a LSTM; supported"):
        read_architecture(wrong)
    wrong = json.loads(json.dumps(description).replace("channels_last", "channels_first"))
    with pytest.raises(ValueError, match="data_format"):
        read_architecture(wrong)
    with pytest.raises(ValueError, match="received 'Picture'"):
        read_architecture({"class_name": "Picture", "config": {}})
    (tmp_path / "model.json").write_text(json.dumps(description).replace('"filters": 4', '"filters": 5'))
    with pytest.raises(ValueError, match="'conv2d_1' expects 2 arrays with 5 output channels"):
        load_network(tmp_path)
    (tmp_path / "model.json").unlink()
    with pytest.raises(ValueError, match="weights alone"):
        load_network(tmp_path)


# --- preprocessing, calibration, splits
# -------------------------------------------------------------------------------


def test_area_average_of_blocks(rng):
    image = rng.normal(size=(100, 100))
    blocks = image.reshape(50, 2, 50, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(area_average(image, 50), blocks, atol=1e-6)
    np.testing.assert_array_equal(area_average(np.pad(image, [(0, 0), (7, 7)]), 50), area_average(image, 50))


@settings(max_examples=20, deadline=None)
@given(st.integers(8, 90), st.integers(2, 60), st.integers(0, 1000))
def test_area_average_keeps_flux_and_constants(side, size, seed):
    image = np.random.default_rng(seed).normal(size=(side, side))
    assert area_average(image, size).mean() == pytest.approx(image.mean(), abs=1e-5)
    image[:] = 3.5
    image[0, 0] = np.nan
    assert set(np.unique(area_average(image, size).round(5))) <= {0.0, 3.5}


def test_prepare_flags_what_cannot_be_classified(rng):
    pixels = [rng.random((20, 20)), np.full((20, 20), np.nan), np.ones((20, 20))]
    pixels += [rng.random((6, 20)), np.zeros((0, 0)), rng.random((3, 9, 9))]
    table = Table({"id": list("abcdef"), "flag": [0, 0, 0, 0, int(Flag.UNREADABLE), 0]})
    maps, flags, _ = prepare("peak", ImageSet(pixels, table), None, 50)
    truth = [0, Flag.NO_DATA, Flag.NO_DATA, Flag.TOO_SMALL, Flag.UNREADABLE, Flag.NOT_AN_IMAGE]
    assert flags.tolist() == truth
    assert maps[0].max() == 1 and not maps[1:].any()
    with pytest.raises(ValueError, match="one of raw, peak, folded"):
        prepare("other", ImageSet(pixels, table), None, 50)


def boxes(number, rng, size=64, **columns):
    """Noisy superellipses at random angles."""
    pixels = []
    for _ in range(number):
        outline = superellipse(rng.uniform(0.4, 0.9), rng.uniform(2, 6))
        light = draw_galaxy(
            outline, Sersic(1), size=size, radius_pix=8, position_angle_deg=rng.uniform(0, 180), psf_fwhm_pix=2.5
        )
        pixels.append(np.float32(light / light.max() * 100 + rng.normal(size=light.shape)))
    return ImageSet(np.array(pixels), Table({"id": [str(i) for i in range(number)], **columns}))


def test_folded_maps_by_plain_numpy(rng):
    """The same maps from the definitions, on frames as they were found."""
    images = boxes(4, rng, psf_fwhm_pix=[2.5, 2.5, np.nan, 2.5])
    frames = frame_galaxies(images)
    looks = frames.quick_shapes
    maps, flags, snr = folded_maps(images, frames, 16)
    assert list(snr) == [look.snr for look in looks]
    for one, other in zip((maps, flags, snr), folded_maps(images, None, 16), strict=True):
        np.testing.assert_array_equal(one, other)
    assert maps.shape == (4, 16, 16, 9) and not flags.any()
    r = np.hypot(*(np.mgrid[:16, :16] + 0.5))
    hats = np.maximum(1 - abs(np.maximum(r, 0.5)[..., None] - 0.5 - np.arange(24)), 0).reshape(256, 24)
    for found, look, width in zip(maps, looks, (2.5, 2.5, np.nan, 2.5), strict=True):
        s = stamp(look).astype(float)
        even, odd_x, odd_y, odd_both = (
            (s + a * s[:, ::-1] + b * s[::-1] + a * b * s[::-1, ::-1])[16:, 16:] / 4
            for a, b in ((1, 1), (-1, 1), (1, -1), (-1, -1))
        )
        rings = np.linalg.solve(hats.T @ hats + 1e-3 * np.eye(24), hats.T @ even.ravel())
        mean = (hats @ rings).reshape(16, 16)
        unit = 2 * 5 * look.radius / 32 * np.sqrt(look.shape[2])  # twice the root of the image pixels under one
        np.testing.assert_allclose(found[..., 0], np.arcsinh(even), atol=1e-4)
        np.testing.assert_allclose(found[..., 1], np.arcsinh(unit * (even - mean) / 2), atol=2e-3)
        np.testing.assert_allclose(found[..., 2], np.arcsinh(unit * odd_x / 2) * np.sign(odd_x.sum()), atol=1e-4)
        np.testing.assert_allclose(found[..., 3], np.arcsinh(unit * abs(odd_y) / 2), atol=1e-4)
        np.testing.assert_allclose(found[..., 4], np.arcsinh(unit * odd_both / 2) * np.sign(odd_both.sum()), atol=1e-4)
        known = np.isfinite(width)
        planes = [look.shape[2], np.log(look.radius), width / look.radius if known else 0, known]
        np.testing.assert_allclose(found[5, 7, 5:], planes, atol=1e-5)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_folded_maps_are_those_of_the_mirror_images(seed):
    values = np.random.default_rng(seed).normal(size=(32, 32)).astype(np.float32)
    maps = [np.zeros((16, 16, 5), np.float32) for _ in range(4)]
    for view, out in zip((values, values[::-1], values[:, ::-1], values[::-1, ::-1]), maps, strict=True):
        fold(np.ascontiguousarray(view), np.float32(2), RingWeights(*_RING_WEIGHTS), np.zeros(0, np.float32), out)
    for other in maps[1:]:
        np.testing.assert_allclose(other, maps[0], atol=2e-6)


def test_folded_maps_belong_to_their_images(rng):
    images = boxes(2, rng)
    with pytest.raises(ValueError, match="16 x 16 pixels"):
        folded_maps(images, None, 32)
    with pytest.raises(ValueError, match="must belong"):
        folded_maps(images[[0]], frame_galaxies(images), 16)


def test_calibration_by_snr(rng):
    """Logits that are too sharp at low and too soft at high snr, and biased, come out as the truth."""
    n = 40_000
    snr = np.exp(rng.uniform(np.log(10), np.log(300), n))
    logits = rng.normal(0, 1.5, (n, 3))
    true = np.array([rng.choice(3, p=p) for p in softmax(logits, axis=1)])
    factor = np.interp(np.log(snr), np.log([20, 160]), [2.0, 0.7])[:, None]
    seen = softmax(factor * (logits - [0.5, 0, 0]), axis=1)
    p = calibrate(seen, fit_calibration(seen, true, snr), snr)
    np.testing.assert_allclose(p, softmax(logits, axis=1), atol=0.08)
    assert expected_calibration_error(p, true) < 0.01 < 0.04 < expected_calibration_error(seen, true)
    unknown = np.full(n, np.nan)
    assert len(fit_calibration(seen, true, unknown)["log_snr"]) == 1
    np.testing.assert_allclose(calibrate(seen, IDENTITY, unknown), seen, atol=1e-6)


def test_sets_hold_their_share_in_every_bin(rng):
    n = 60_000
    snr = np.exp(rng.uniform(np.log(5), np.log(300), n))
    logits = rng.normal(size=(n, 4)) * np.log(snr)[:, None] / 2
    p = softmax(logits, axis=1)
    true = np.array([rng.choice(4, p=row) for row in p])
    least = fit_sets(p[::2], true[::2], snr[::2])
    held = in_set(p[1::2], least, snr[1::2])[np.arange(n // 2), true[1::2]]
    for k in range(len(SNR_BINS) - 1):
        assert held[snr_bin(snr[1::2]) == k].mean() == pytest.approx(0.9, abs=0.02)
    assert fit_sets(p[:3], true[:3], snr[:3]) == [0.0] * (len(SNR_BINS) - 1)  # too few to leave anything out


def test_sets_are_those_of_crepes(rng):
    crepes = pytest.importorskip("crepes")
    n = 4000
    snr = np.exp(rng.uniform(np.log(5), np.log(300), n))
    p = softmax(2 * rng.normal(size=(n, 4)), axis=1)
    true = np.array([rng.choice(4, p=row) for row in p])
    half = slice(0, n // 2), slice(n // 2, n)
    least = fit_sets(p[half[0]], true[half[0]], snr[half[0]])
    classifier = crepes.ConformalClassifier()
    classifier.fit(1 - p[half[0]][np.arange(n // 2), true[half[0]]], bins=snr_bin(snr[half[0]]))
    peer = classifier.predict_set(1 - p[half[1]], bins=snr_bin(snr[half[1]]), confidence=0.9, smoothing=False)
    np.testing.assert_array_equal(in_set(p[half[1]], least, snr[half[1]]), peer.astype(bool))


def test_what_is_unlike_the_classes_is_not_typical(rng):
    """Two clusters on a plane of ten dimensions: a third cluster, and what leaves the plane, stand out."""
    centres = np.zeros((3, 10))
    centres[0, 0] = centres[1, 1] = centres[2, 2] = 5

    def cluster(k, number):
        return np.float32(centres[k] + rng.normal(size=(number, 10)) * ([0.5] * 5 + [0.01] * 5))

    features = np.concatenate([cluster(0, 500), cluster(1, 500)])
    held_out = np.concatenate([cluster(0, 500), cluster(1, 500)])
    known = fit_open_set(features, np.repeat([0, 1], 500), held_out, rng=rng)
    fresh = known.typical(np.concatenate([cluster(0, 2000), cluster(1, 2000)]))
    assert np.quantile(fresh, 0.1) == pytest.approx(0.1, abs=0.05) and fresh.mean() == pytest.approx(0.5, abs=0.05)
    away = cluster(0, 100)
    away[:, 7] += 1
    assert known.typical(cluster(2, 100)).max() < 0.001 and known.typical(away).max() < 0.001
    with_file = OpenSet.from_arrays(known.arrays())
    np.testing.assert_allclose(with_file.typical(away), known.typical(away), atol=1e-3)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.05, 0.6))
def test_no_galaxy_is_on_both_sides_of_a_split(seed, holdout):
    rng = np.random.default_rng(seed)
    galaxies = np.concatenate([np.repeat(np.arange(12), 2), rng.integers(0, 12, 60)])
    targets = (galaxies % 3).astype(np.int64)
    part = split_by_galaxy(galaxies.astype(str), targets, 3, holdout, seed)
    for galaxy in range(12):
        assert len(set(part[galaxies == galaxy])) == 1
    for k in range(3):
        assert set(targets[part == k]) == {0, 1, 2}
    np.testing.assert_array_equal(part, split_by_galaxy(galaxies.astype(str), targets, 3, holdout, seed))


def test_too_few_galaxies_to_split():
    with pytest.raises(ValueError, match="3 or more usable galaxies"):
        split_by_galaxy(np.array(["a", "b", "b", "b"]), np.zeros(4, int), 1, 0.2, 0)


# --- training
# ---------------------------------------------------------------------------------------------------------


def shapes(number, size, seed, radius=(0.25, 0.35)):
    """Noisy discs (oval) and squares (rectangular) in turn, every two images one galaxy."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    r = rng.uniform(*radius, number)[:, None, None] * size
    square = np.arange(number)[:, None, None] % 4 >= 2
    inside = np.where(square, np.maximum(abs(x), abs(y)) < r * 0.886, np.hypot(x, y) < r)
    label = np.where(square[:, 0, 0], "rectangular", "oval")
    pixels = np.float32(100 * (inside + rng.normal(0, 0.1, inside.shape)))
    table = Table({"label": label, "galaxy": np.arange(number) // 2, "scored": [True] * number})
    return ImageSet(pixels, table)


class Epochs:
    """Counts the epochs of a training, and may interrupt it."""

    def __init__(self, stop=None):
        self.stop = stop

    def begin(self, total, unit="images", what=""):
        self.total, self.done, self.figures = total, 0, []

    def advance(self, n=1, **figures):
        self.done += n
        self.figures += [figures] if figures else []
        if len(self.figures) == self.stop:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_the_network_of_the_thesis(keras):
    from emeraldcut.networks import thesis

    model = thesis.build(keras, 3)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == ["Conv2D", "Conv2D", "MaxPooling2D", "Dropout", "Flatten", "Dense", "Dropout", "Dense"]
    # 3 x 3 kernels with biases; 50 - 2 - 2 = 46, halved: 23 x 23 x 64 into 128, into 3
    assert model.count_params() == (9 + 1) * 32 + (9 * 32 + 1) * 64 + (23 * 23 * 64 + 1) * 128 + 129 * 3
    adadelta = thesis.optimizer(keras, thesis.LEARNING_RATE, 1)
    assert (float(adadelta.learning_rate), adadelta.rho, adadelta.epsilon) == (1.0, 0.95, 1e-7)


@pytest.mark.slow
def test_thesis_network_learns_discs_and_squares(tmp_path, keras):
    images, told = shapes(160, 50, 0), Epochs()
    images.table["scored"][:4] = False
    images.table["label"][4:6] = "other"
    images.table["flag"][6] = int(Flag.NO_DATA)
    trained = train(images, TrainSettings(network="thesis", epochs=14, batch_size=16), seed=3,
                    progress=told)  # fmt: skip
    assert told.total == 14 and told.done == len(told.figures) == len(trained.history) == trained.card["epochs_run"]
    assert told.figures[-1]["holdout_loss"] == trained.history["holdout_loss"][-1]
    counts = trained.card["training"]
    assert sum(sum(part.values()) for part in counts.values()) == 160 - 7
    assert np.sum(trained.card["metrics"]["confusion"]) == sum(counts["figures"].values())
    network = load_network(trained.save(tmp_path / "network"))
    fresh = shapes(80, 50, 99)
    answer = np.array(network.classes)[network.predict(fresh).argmax(axis=1)]
    assert np.mean(answer == fresh.table["label"]) > 0.9


@pytest.mark.slow
def test_screener_learns_and_resumes(tmp_path, keras, monkeypatch):
    """Boxes and ellipses that it draws itself: better than chance, the same again, and the same if it was stopped."""
    bright = {"population": "standard", "pictures": 0.0, "correlated": 0.0, "snr_min": 150.0, "psf_fwhm_max_pix": 2.0}
    monkeypatch.setattr(train_module, "SURVEY", replace(train_module.SURVEY, **bright))
    monkeypatch.setattr(train_module, "PAUSE_SECONDS", 0.0)
    options = TrainSettings(classes=("oval", "rectangular"), number=1500, epochs=4, batch_size=16)
    whole = train(None, options, seed=1)
    folder = tmp_path / "network"

    with pytest.raises(KeyboardInterrupt):
        train(None, options, seed=1, folder=folder, progress=Epochs(stop=2))
    with pytest.raises(FileExistsError, match="other settings"):
        train(None, options, seed=2, folder=folder)
    told = Epochs()
    again = train(None, options, seed=1, folder=folder, progress=told)
    assert (told.total, told.done, len(told.figures)) == (4, 4, 2) and not (folder / "unfinished").exists()
    for a, b in zip(whole.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.card["metrics"]["accuracy"] > 0.75
    network = load_network(again.save(folder))
    fresh = synthesise(replace(train_module.SURVEY, number=100, classes=("oval", "rectangular")), seed=77)
    p = network.predict(fresh)
    scored = np.array(fresh.table["scored"]) & np.isfinite(p[:, 0])
    right = np.array(network.classes)[p[scored].argmax(axis=1)] == np.array(fresh.table["label"])[scored]
    assert right.mean() > 0.7
    assert network.open_set is not None and len(network.card["sets"]) == len(SNR_BINS) - 1


@pytest.mark.slow
@pytest.mark.parametrize("stop", [1, 3])
def test_training_with_dropout_resumes_to_the_last_bit(tmp_path, keras, monkeypatch, stop):
    """Weights, history and card of the thesis's network, which draws units to drop, and stops after its best epoch."""
    monkeypatch.setattr(train_module, "PAUSE_SECONDS", 0.0)
    images, options = shapes(40, 50, 0), TrainSettings(network="thesis", epochs=5, batch_size=16, patience=2)
    whole = train(images, options, seed=3)
    folder = tmp_path / "network"
    with pytest.raises(KeyboardInterrupt):
        train(images, options, seed=3, folder=folder, progress=Epochs(stop=stop))
    (folder / "unfinished" / f"epoch-{stop + 1}.keras").write_bytes(b"half of a model")  # as a process leaves it
    again = train(images, options, seed=3, folder=folder)
    for a, b in zip(whole.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert all(list(whole.history[name]) == list(again.history[name]) for name in whole.history.colnames)
    assert json.dumps(whole.card) == json.dumps(again.card)


@pytest.mark.slow
def test_training_notices_other_images(tmp_path, keras):
    images, options = shapes(20, 50, 0), TrainSettings(network="thesis", epochs=3, batch_size=16)
    with pytest.raises(KeyboardInterrupt):
        train(images, options, seed=3, folder=tmp_path, progress=Epochs(stop=1))
    other = ImageSet([np.array(p) for p in images.pixels], images.table.copy())
    other.pixels[5][20, 20] += 1
    with pytest.raises(FileExistsError, match="the content of images has changed"):
        train(other, options, seed=3, folder=tmp_path)
    begun_again = train(other, options, seed=3, folder=tmp_path, overwrite=True)
    undisturbed = train(other, options, seed=3)
    for a, b in zip(begun_again.model.get_weights(), undisturbed.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_real_galaxies_take_part_in_training(rng):
    """Real images are `other` unless they say otherwise; smooth ones come again as rectangles, as the same galaxy."""
    images = boxes(3, rng, label=["oval", "", "oval"])
    images.table["flag"][2] = int(Flag.NO_DATA)
    both = train_module._with_boxes(images, ("oval", "rectangular", "obround", "other"), seed=1)
    assert list(both.table["label"]) == ["oval", "other", "oval", "rectangular", "rectangular"]
    assert list(both.table["galaxy"]) == ["real 0", "real 1", "real 2", "real 0", "real 1"]
    a4 = measure(both)["a4"]
    assert a4[3] < a4[0] - 0.02 and a4[4] < a4[1] - 0.02  # boxier than they were


def test_synthetic_galaxies_on_real_backgrounds(rng):
    """The galaxy that was there goes, one of each class comes in its place; the rest of the image stays."""
    light = draw_galaxy(
        superellipse(0.5, 2), Sersic(1), size=(90, 100), radius_pix=9, centre=(52, 40), psf_fwhm_pix=2.5
    )
    image = 400 * light / light.max() + rng.normal(size=light.shape)
    image[:10, :10] += 40  # beside everything
    images = ImageSet([image.astype(np.float32), image[:20, :20].astype(np.float32), image.astype(np.float32)],
                      Table({"id": ["a", "b", "c"], "flag": [0, 0, int(Flag.NO_DATA)]}))  # fmt: skip
    classes = ("oval", "rectangular", "obround", "other")
    painted = train_module._painted(images, classes, seed=1)
    assert list(painted.table["label"]) == list(classes) and set(painted.table["galaxy"]) == {"background a"}
    assert not np.isfinite(known_psf(painted)).any()  # it was not known
    frames = frame_galaxies(painted)
    for k in range(3):
        look = frames.galaxies[k].quick
        assert np.hypot(look.shape[0] - 47, look.shape[1] - 40) < 2  # the square begins at x = 5
        assert look.snr == pytest.approx(painted.table["truth_snr"][k], rel=0.35)
        square = np.asarray(painted.pixels[k])
        assert square.shape == (90, 90) and np.mean(square[:8, :4]) == pytest.approx(40, abs=3)
    left = np.asarray(painted.pixels[0]) - np.asarray(painted.pixels[1])
    assert np.std(left[-8:, -8:]) < 0.6  # one and the same noise
    assert len(train_module._painted(images[[1, 2]], classes, seed=1)) == 0


@pytest.mark.slow
def test_the_card_is_a_page(tmp_path, keras):
    """What a person reads holds the figures of the card."""
    trained = train(shapes(80, 50, 0), TrainSettings(network="thesis", epochs=1, batch_size=16), seed=3)
    page = (trained.save(tmp_path / "network") / "card.md").read_text()
    card = json.loads((tmp_path / "network" / "card.json").read_text())
    assert "BSD-3-Clause" in page and f"accuracy {card['metrics']['accuracy']:.3f}" in page
    assert (
        f"| training | {card['training']['training']['oval']} | {card['training']['training']['rectangular']} |" in page
    )


@pytest.mark.slow
def test_training_needs_labels_and_keras(monkeypatch):
    with pytest.raises(ValueError, match="column 'label'"):
        train(ImageSet(np.zeros((2, 9, 9)), Table({"id": ["a", "b"]})))
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(ImportError, match=r"pip install 'emeraldcut\[train\]'"):
        train(shapes(8, 50, 0), TrainSettings(network="thesis"))


@pytest.mark.slow
def test_no_keras_without_training(tmp_path, rng):
    keras2_files(tmp_path, rng)
    code = (
        "import sys; from emeraldcut.networks import load_network, train\n"
        "light = not {'keras', 'openvino', 'h5py', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        f"import numpy as np; p = load_network({str(tmp_path)!r}).predictor(np.zeros((1, 10, 10)))[0]\n"
        "print(light, p.shape, 'keras' in sys.modules, 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "True (1, 3) False False"


@pytest.mark.parametrize("damage", ["nan", "card", "list", "layers", "truncated", "no dense", "open set", "pipe"])
def test_a_bad_folder_of_a_network_is_one_sentence(tmp_path, rng, damage):
    shipped = load_network("screener").folder
    folder = tmp_path / "network"
    copytree(shipped, folder)
    card, layers, weights = (folder / name for name in ("card.json", "model.json", "model.weights.h5"))
    if damage == "nan":
        with h5py.File(weights, "r+") as file:
            arrays = []
            file.visititems(lambda name, item: arrays.append(item) if isinstance(item, h5py.Dataset) else None)
            arrays[0][...] = np.nan
    elif damage == "card":
        card.write_text("{")
    elif damage == "list":
        card.write_text("[1, 2]")
    elif damage == "layers":
        layers.write_text('{"class_name": "Functional", "config": {"layers": [{"name": "a"}]}}')
    elif damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:5000])
    elif damage == "no dense":
        layers.write_text('{"class_name": "Sequential", "config": []}')
    elif damage == "pipe":
        weights.unlink()
        os.mkfifo(weights)
    else:
        (folder / "open_set.npz").write_bytes(b"PK nothing")
    with pytest.raises(ValueError) as caught:  # noqa: PT011  what it says differs
        load_network(folder)
    assert isinstance(caught.value, UsageError) and "\n" not in str(caught.value)
    assert damage != "nan" or "not finite" in str(caught.value)
