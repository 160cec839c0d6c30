"""What to cite for a run: the papers behind its methods and the programs that it used, as BibTeX."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("methods.bib")
MEASURE = ("1987MNRAS.226..747J", "1987A&A...177...71B", "2015ApJ...810..120C")
CLASSIFY = ("2017arXiv170604599G", "2002NeCom..14...21S")
COMPARE = ("2012ApJ...750..121G",)  # where the reference is LEDA 074886
BINOMIAL = ("2001StaSc..16..101B",)
SCREEN = (*COMPARE, *MEASURE, *CLASSIFY, *BINOMIAL)
SIMULATE = (
    "2003ApJ...597..893N", "1993ApJS...86..389H", "1990JCoPh..87..161B", "2002JCoPh.179...27D", "2005MNRAS.364.1105S",
)  # fmt: skip
GAS = ("2012MNRAS.425.1068D", "2002MNRAS.333..649S")
METHODS = {
    "screen": SCREEN,
    "completeness": ("1990MNRAS.245..130A", *SCREEN),
    "measure": MEASURE,
    "classify": (*CLASSIFY, *BINOMIAL),
    "compare": (*COMPARE, *MEASURE),
    "train": ("2016cvpr.conf..770H", *CLASSIFY),
    "synthesise": ("1990MNRAS.245..130A",),
    "clean": ("2014PeerJ...2..453V",),
    "simulate": SIMULATE,
    "observe": SIMULATE,
    "study": ("1998SurMe..24..193K", "1993JRSSB..55..569V", *SCREEN, *SIMULATE),
    "fetch": ("2015A&A...578A.114F",),
}
# Further papers to cite for certain values of settings.
BY_SETTING = {
    ("method", "sift"): ("2004IJCV...60...91L", "2014PeerJ...2..453V"),
    ("method", "nlm"): ("2005cvpr.conf...60B",),
    ("method", "wavelet"): ("2000ITIP....9.1532C",),
}
ALWAYS = ("2022ApJ...935..167A",)  # astropy, which every command uses


def entries() -> dict[str, str]:
    """Every entry of `methods.bib` by its key."""
    parts = FILE.read_text(encoding="utf-8").split("\n@")
    found = ["@" + part.lstrip("@").strip() for part in parts]
    return {entry[entry.index("{") + 1 : entry.index(",")]: entry for entry in found}


def bibliography(manifest: Mapping[str, Any]) -> str:
    """The BibTeX entries to cite for the run with this manifest, each of them once."""
    command = str(manifest.get("command"))
    keys = list(METHODS.get("screen" if command == "demo" else command, ()))
    for (name, value), more in BY_SETTING.items():
        if manifest.get(f"settings.{name}") == value:
            keys += more
    if manifest.get("settings.gas_fractions"):
        keys += GAS
    reference = manifest.get("settings.reference")
    if reference and "leda074886" not in reference:
        keys = [key for key in keys if key not in COMPARE]
    known = entries()
    return "\n".join(known[key] for key in dict.fromkeys([*keys, *ALWAYS])) + "\n"
