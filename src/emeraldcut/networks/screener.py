"""The screening network: a small residual network on the galaxy in its own frame (32 x 32, noise units).

About 146,000 weights and 17 million operations an image. In the frame only the four mirror images are left as
symmetry, so training mirrors at random and prediction averages over the four.
"""

from __future__ import annotations

from typing import Any

CLASSES = ("oval", "rectangular", "obround", "other")
SIZE = 32
EPOCHS = 10
BATCH_SIZE = 64
PATIENCE = 0  # the learning rate falls to zero at the last epoch; the end is what helps most
LEARNING_RATE = 0.004
FLIPS = True


def build(keras: Any, n_classes: int) -> Any:
    """The untrained network, taking stamps (n, 32, 32, 1) as arcsinh of half the signal-to-noise."""
    image = keras.Input((SIZE, SIZE, 1))
    x = _convolution(keras, image, 16, 3, 1, "relu")
    for channels in (32, 64, 64):
        x = _block(keras, x, channels)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(n_classes, activation="softmax")(x))


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
