"""A suite of mergers -> shares of shapes against mass ratio, gas and time, with intervals and tests."""

from emeraldcut.studies.study import CLOSEST, IMAGES, REFERENCE, SHARES, SKILLS, TESTS, study, study_file
from emeraldcut.studies.thesis import CONCLUSIONS
from emeraldcut.studies.views import EYES, PHASES, SIGHTS, StudySettings

__all__ = [
    "CLOSEST",
    "CONCLUSIONS",
    "EYES",
    "IMAGES",
    "PHASES",
    "REFERENCE",
    "SHARES",
    "SIGHTS",
    "SKILLS",
    "TESTS",
    "StudySettings",
    "study",
    "study_file",
]
