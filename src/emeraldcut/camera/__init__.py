"""Images of particles from any side, with their true shape."""

from emeraldcut.camera.camera import THESIS_DIRECTIONS, THESIS_MAPS, ObserveSettings, observe, observe_both
from emeraldcut.camera.remnant import measure_remnant
from emeraldcut.camera.remnant_shape import Body, Views, body_of, even_directions, families, view_remnant

__all__ = [
    "Body",
    "ObserveSettings",
    "THESIS_DIRECTIONS",
    "THESIS_MAPS",
    "Views",
    "body_of",
    "even_directions",
    "families",
    "measure_remnant",
    "observe",
    "observe_both",
    "view_remnant",
]
