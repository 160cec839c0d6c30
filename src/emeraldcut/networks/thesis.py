"""The network of the thesis: the Keras example for handwritten digits, on 50 x 50 maps, trained with AdaDelta.

Architecture, optimiser, batch size and number of epochs are those of the thesis and its published scripts
(github.com/Waldorfio/galaxy-classification: new_task.py, central_edited.py). Two mistakes of the scripts are corrected:
the accuracy is measured on held-out galaxies and not on the training set, and images are divided by their peak unless
the setting `normalise` is `none`.
"""

from __future__ import annotations

from typing import Any

CLASSES = ("oval", "rectangular")
SIZE = 50
EPOCHS = 1000
BATCH_SIZE = 200
PATIENCE = 50
# The default of Keras 2.2 with TensorFlow 1.12, which the thesis used, and of Zeiler 2012 (arXiv 1212.5701). With
# the default of Keras 3, 0.001, this network hardly learns.
LEARNING_RATE = 1.0
TRUTH_WEIGHT = 0.0  # it learns the classes only
PREPROCESSING = "peak"


def build(keras: Any, n_classes: int) -> Any:
    """The untrained network, taking images (n, 50, 50, 1)."""
    layers = keras.layers
    return keras.Sequential([
        keras.Input((SIZE, SIZE, 1)),
        layers.Conv2D(32, 3, activation="relu"),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Dropout(0.25),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dropout(0.5),
        layers.Dense(n_classes, activation="softmax"),
    ])  # fmt: skip


def optimizer(keras: Any, learning_rate: float, steps: int) -> Any:
    """AdaDelta with the defaults of the Keras version of the thesis."""
    return keras.optimizers.Adadelta(learning_rate=learning_rate, rho=0.95, epsilon=1e-7)
