"""The page of licences: of emeraldcut, of what it needs, and of what each extra brings, from pyproject.toml.

Licences of packages that are installed are compared with what they state (`stated_licence`); the table holds them so
that the page does not depend on what is installed here.
"""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
LICENCES = {
    "astropy": "BSD-3-Clause",
    "build": "MIT",
    "cdshealpix": "BSD-3-Clause",
    "cma": "BSD-3-Clause",
    "crepes": "BSD-3-Clause",
    "dask-jobqueue": "BSD-3-Clause",
    "distributed": "BSD-3-Clause",
    "h5py": "BSD-3-Clause",
    "httpx2": "BSD-3-Clause",
    "hypothesis": "MPL-2.0",
    "ipykernel": "BSD-3-Clause",
    "jax": "Apache-2.0",
    "jinja2": "BSD-3-Clause",
    "keras": "Apache-2.0",
    "matplotlib": "PSF-based (Matplotlib licence)",
    "mocpy": "BSD-3-Clause",
    "mypy": "MIT",
    "myst-nb": "BSD-3-Clause",
    "nbclient": "BSD-3-Clause",
    "numba": "BSD-2-Clause",
    "numpy": "BSD-3-Clause",
    "numpydoc": "BSD-2-Clause",
    "onnx": "Apache-2.0",
    "openvino": "Apache-2.0",
    "pandas": "BSD-3-Clause",
    "photutils": "BSD-3-Clause",
    "pillow": "MIT-CMU",
    "playwright": "Apache-2.0",
    "polars": "MIT",
    "pyarrow": "Apache-2.0",
    "pydata-sphinx-theme": "BSD-3-Clause",
    "pynbody": "BSD-3-Clause",
    "pytest": "MIT",
    "pytest-xdist": "MIT",
    "pytreegrav": "MIT",
    "pyvo": "BSD-3-Clause",
    "pywavelets": "MIT AND BSD-3-Clause",
    "regions": "BSD-3-Clause",
    "ruff": "MIT",
    "scikit-image": "BSD-3-Clause",
    "scikit-learn": "BSD-3-Clause",
    "scipy": "BSD-3-Clause",
    "sphinx": "BSD-2-Clause",
    "sphinx-copybutton": "MIT",
    "sphinx-design": "MIT",
    "starlette": "BSD-3-Clause",
    "statsmodels": "BSD-3-Clause",
    "tensorflow": "Apache-2.0",
    "tensorflow-cpu": "Apache-2.0",
    "threadpoolctl": "BSD-3-Clause",
    "tifffile": "BSD-3-Clause",
    "tqdm": "MPL-2.0 AND MIT",
    "uvicorn": "BSD-3-Clause",
    "zarr": "MIT",
}
# Words by which a package states a licence, of the kind on the right; first match counts.
WORDS = {
    r"GPL|General Public": "GPL",
    r"Proprietary|non-commercial": "proprietary",
    r"MPL|Mozilla": "MPL",
    r"Apache": "Apache",
    r"BSD": "BSD",
    r"MIT": "MIT",
    r"Python Software Foundation|PSF|matplotlib": "PSF",
}


def required() -> dict[str, list[str]]:
    """The packages that emeraldcut needs, under "", and those of each extra; names in lower case, once each."""
    with PYPROJECT.open("rb") as file:
        project = tomllib.load(file)["project"]
    extras = {"": project["dependencies"], **project["optional-dependencies"]}
    names = {extra: [re.match(r"[\w-]+", line)[0].lower() for line in lines] for extra, lines in extras.items()}
    return {extra: [n for n in dict.fromkeys(found) if n != "emeraldcut"] for extra, found in names.items()}


def stated_licence(package: str) -> str:
    """The kind of licence that an installed package states; "" where it is not installed or states none."""
    try:
        facts = metadata(package)
    except PackageNotFoundError:
        return ""
    stated = [facts.get("License-Expression") or "", *(c for c in facts.get_all("Classifier") or [] if "License" in c)]
    return kind_of(" ".join(stated)) or kind_of((facts.get("License") or "")[:80])


def kind_of(text: str) -> str:
    """The kind of licence that a text names; "" for none."""
    return next((kind for words, kind in WORDS.items() if re.search(words, text, re.IGNORECASE)), "")


def licences_page() -> str:
    """The page, as Markdown."""
    needed = required()
    lines = [
        "# Licences",
        "",
        "emeraldcut is published under the licence BSD-3-Clause, and so are its network, its sample of ordinary galaxies and",
        "this documentation. No code under the GPL, and no code of unclear licence, is part of it or is needed by it.",
        "",
        "Written by `docs/generate.py` from `pyproject.toml`; a test compares the licences with what the packages state.",
        "",
        "## Needed",
        "",
        "| package | licence |",
        "|---|---|",
        *(f"| {name} | {LICENCES[name]} |" for name in sorted(needed.pop(""))),
        "",
        "## Extras",
        "",
        "| extra | packages and licences |",
        "|---|---|",
    ]
    for extra, names in needed.items():
        lines.append(f"| `{extra}` | " + ", ".join(f"{name} ({LICENCES[name]})" for name in names) + " |")
    lines += [
        "",
        "## What is only used beside it",
        "",
        "- **Programs**: GADGET-2, GADGET-4, SWIFT, and Fi in AMUSE move particles on request. They run as separate programs",
        "  that you install, under their own licences (some of them the GPL). None of their code is in emeraldcut, and only",
        "  files are exchanged.",
        "- **Images for tests**: `make test` also installs the packages mgefit (its licence allows non-commercial use only) and",
        "  AstroVista (MIT). Tests open images of galaxies that these contain and import none of their code. Without them",
        "  these tests are skipped.",
        "- **The field of the demonstration** is the Hubble picture that scikit-image distributes (NASA, public domain).",
        "- **LEDA 074886**: no picture of it is distributed. The reference is a model made from published numbers.",
    ]
    return "\n".join(lines) + "\n"
