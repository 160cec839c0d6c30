"""Networks: the screener and the network of the thesis, trained with Keras and used without it."""

from emeraldcut.networks.calibration import FOUND, shift_priors
from emeraldcut.networks.classify import ClassifySettings, classify
from emeraldcut.networks.export import export_network
from emeraldcut.networks.network import CLASSES, Network, load_network, save_network
from emeraldcut.networks.train import TrainedNetwork, TrainSettings, train

__all__ = [
    "CLASSES",
    "FOUND",
    "ClassifySettings",
    "Network",
    "TrainSettings",
    "TrainedNetwork",
    "classify",
    "export_network",
    "load_network",
    "save_network",
    "shift_priors",
    "train",
]
