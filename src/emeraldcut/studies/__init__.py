"""Studies: the fractions of shapes among mergers against mass ratio, gas fraction and time, with tests."""

from emeraldcut.studies.study import (
    ACCURACY,
    BOXES,
    CLOSEST,
    FRACTIONS,
    IMAGES,
    REFERENCE,
    REMNANTS,
    TESTS,
    study,
    study_file,
)
from emeraldcut.studies.thesis import CONCLUSIONS
from emeraldcut.studies.views import IMAGE_QUALITIES, METHODS, PHASES, StudySettings

__all__ = [
    "BOXES",
    "CLOSEST",
    "CONCLUSIONS",
    "METHODS",
    "IMAGES",
    "PHASES",
    "REFERENCE",
    "REMNANTS",
    "FRACTIONS",
    "IMAGE_QUALITIES",
    "ACCURACY",
    "TESTS",
    "StudySettings",
    "study",
    "study_file",
]
