"""Quality flags: problems of an image, as a bit mask, in sentences, and on two levels."""

from __future__ import annotations

from enum import IntFlag
from functools import cache

import numpy as np
from numpy.typing import NDArray


class Flag(IntFlag):
    """Bits of the column `flag`; 0 is good. Rows with any bit of `UNUSABLE` have no measurement.

    Examples
    --------
    >>> Flag.NEIGHBOUR in Flag(96), describe(Flag.LOW_SNR)
    (True, 'The signal-to-noise ratio is below 10.')
    """

    GOOD = 0
    UNREADABLE = 1
    NOT_AN_IMAGE = 2
    NO_DATA = 4
    TOO_SMALL = 8
    NO_GALAXY = 16
    LOW_SNR = 32
    NEIGHBOUR = 64
    CUT_BY_EDGE = 128
    UNRESOLVED = 256
    NOT_CONVERGED = 512
    MISSING_PIXELS = 1024
    NOT_COMPARED = 2048
    SKY_GRADIENT = 4096
    EDGE_ON = 8192
    OFF_CENTRE = 16384
    STRUCTURE = 32768
    UNUSUAL = 65536
    SATURATED = 131072
    NOT_LISTED = 262144
    FIRST_PASS_ONLY = 524288
    HIDDEN = 1048576
    ONE_BAND = 2097152


UNUSABLE = Flag.UNREADABLE | Flag.NOT_AN_IMAGE | Flag.NO_DATA | Flag.TOO_SMALL | Flag.NO_GALAXY

# Flags of two levels: those that say not to trust a measurement, and notes, which say what to look at.
UNTRUSTED = UNUSABLE | Flag.LOW_SNR | Flag.UNRESOLVED | Flag.NOT_CONVERGED | Flag.UNUSUAL | Flag.HIDDEN | Flag.ONE_BAND

SENTENCES = {
    Flag.UNREADABLE: "The file could not be read.",
    Flag.NOT_AN_IMAGE: "The input does not hold a two-dimensional image.",
    Flag.NO_DATA: "All pixels are missing or have the same value.",
    Flag.TOO_SMALL: "The image is smaller than 8 pixels on a side.",
    Flag.NO_GALAXY: "No galaxy stands out of the noise near the centre.",
    Flag.LOW_SNR: "The signal-to-noise ratio is below 10.",
    Flag.NEIGHBOUR: "A neighbour overlaps the galaxy; its pixels were masked.",
    Flag.CUT_BY_EDGE: "The galaxy is cut by the edge of the image or by missing pixels.",
    Flag.UNRESOLVED: "The object is hardly larger than the resolution of the image, or has the marks of a star.",
    Flag.NOT_CONVERGED: "The fit of centre, axes and isophotes did not settle.",
    Flag.MISSING_PIXELS: "More than a tenth of the galaxy's pixels are missing or masked.",
    Flag.NOT_COMPARED: "The image has nothing that this method of comparison can use.",
    Flag.SKY_GRADIENT: "The sky changes across the image by more than its noise; a plane was taken off.",
    Flag.EDGE_ON: "The axis ratio is below 0.3, as in a disc seen edge-on.",
    Flag.OFF_CENTRE: "The galaxy lies far from the middle of the image; it may not be the one that was meant.",
    Flag.STRUCTURE: "A bar, arms, dust, clumps or a twist: no smooth profile on one ellipse describes the galaxy.",
    Flag.UNUSUAL: "The network was trained on nothing like this; its class means little.",
    Flag.SATURATED: "The brightest pixels are cut off at one level.",
    Flag.HIDDEN: "A third of the galaxy or more cannot be seen: cut off, missing, or behind a neighbour.",
    Flag.ONE_BAND: "The light is in one band of a colour picture only, as that of trails, ghosts and defects.",
    Flag.NOT_LISTED: "The catalogue has no row of this image.",
    Flag.FIRST_PASS_ONLY: "The image could not be read again for the careful pass; this is the result of the first.",
}


@cache
def describe(flag: int) -> str:
    """The sentences of all bits that are set in `flag`, joined; empty for 0."""
    return " ".join(text for bit, text in SENTENCES.items() if int(flag) & bit)


def usable(flags: np.ndarray) -> NDArray[np.bool_]:
    """Boolean (n,): rows whose `flag` (n,) has no bit that prevents a measurement."""
    good: NDArray[np.bool_] = (np.asarray(flags, dtype=np.int64) & int(UNUSABLE)) == 0
    return good


def trusted(flags: np.ndarray) -> NDArray[np.bool_]:
    """Boolean (n,): rows whose `flag` (n,) has no bit that says not to trust the measurement; notes do not count."""
    good: NDArray[np.bool_] = (np.asarray(flags, dtype=np.int64) & int(UNTRUSTED)) == 0
    return good


def level_of(flag: Flag) -> str:
    """What a single flag means for its row: "do not trust", or "note"."""
    return "do not trust" if flag & UNTRUSTED else "note"


def flag_name(flag: int) -> str:
    """A flag in a few words.

    Examples
    --------
    >>> flag_name(Flag.LOW_SNR | Flag.NEIGHBOUR), flag_name(0)
    ('low snr, neighbour', '')
    """
    return ", ".join(str(bit.name).lower().replace("_", " ") for bit in Flag if int(flag) & bit)
