"""The screener: a small residual network for galaxies in their own frame, folded along both axes.

It has about 143,000 weights and needs 5 million operations per image. A frame is defined up to four mirror images. The
folded maps (see `preprocessing.folded_maps`) are the same for all four, and so are the results of the network.
"""

from __future__ import annotations

from typing import Any

from emeraldcut.networks.preprocessing import FOLDED_SIZE, N_MAPS, N_PLANES

CLASSES = ("oval", "rectangular", "obround", "other")
SIZE = FOLDED_SIZE
EPOCHS = 12
BATCH_SIZE = 128
PATIENCE = 0  # no early stopping, as the last epochs, with the lowest learning rate, help most
LEARNING_RATE = 0.004
TRUTH_WEIGHT = 1.2  # of the loss of a second output, a4, a6, a8 and q, which is used in training only
PREPROCESSING = "folded"


def build(keras: Any, n_classes: int) -> Any:
    """The untrained network, taking folded maps (n, 16, 16, 9)."""
    layers = keras.layers
    maps = keras.Input((SIZE, SIZE, N_MAPS + N_PLANES))
    x = _convolution(keras, maps, 24, 3, 1, "relu")
    for channels in (32, 64):
        x = _block(keras, x, channels)
    x = layers.Dense(64, activation="relu")(layers.Flatten()(x))
    return keras.Model(maps, layers.Dense(n_classes, activation="softmax")(x))


def optimizer(keras: Any, learning_rate: float, steps: int) -> Any:
    """AdamW with one cycle of the learning rate: up for a fifth of the `steps`, then down along a cosine."""
    up = max(steps // 5, 1)
    schedule = keras.optimizers.schedules.CosineDecay(
        learning_rate / 25, decay_steps=steps - up, warmup_target=learning_rate, warmup_steps=up
    )
    return keras.optimizers.AdamW(schedule, weight_decay=0.01)


def _convolution(keras: Any, x: Any, channels: int, width: int, stride: int, activation: str) -> Any:
    x = keras.layers.Conv2D(channels, width, strides=stride, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization(momentum=0.9)(x)
    return x if activation == "linear" else keras.layers.Activation(activation)(x)


def _block(keras: Any, x: Any, channels: int) -> Any:
    """A residual block (He et al. 2016, arXiv 1512.03385) that halves the side."""
    y = _convolution(keras, x, channels, 3, 2, "relu")
    y = _convolution(keras, y, channels, 3, 1, "linear")
    short = _convolution(keras, x, channels, 1, 2, "linear")
    return keras.layers.Activation("relu")(keras.layers.Add()([y, short]))
