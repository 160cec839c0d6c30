"""Images of particles from any side, with their true shape."""

from emeraldcut.camera.camera import THESIS_DIRECTIONS, THESIS_MAPS, ObserveSettings, observe, observe_both
from emeraldcut.camera.remnant import measure_remnant

__all__ = [
    "ObserveSettings",
    "THESIS_DIRECTIONS",
    "THESIS_MAPS",
    "measure_remnant",
    "observe",
    "observe_both",
]
