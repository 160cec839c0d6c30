"""The house: which folder may import from which, and what the package offers."""

import ast
from pathlib import Path

import pytest

import emeraldcut

PACKAGE = Path(emeraldcut.__file__).parent
# Each folder imports only from those before it; those of one line are siblings, which do not know each other.
LAYERS = [["settings", "numerics", "quick_help"], ["data"], ["galaxies"], ["mergers"], ["frame"],
          ["isophotes", "networks", "similarity"], ["screening", "studies"], ["report"], ["review"], ["demo"],
          ["cli"], ["__main__"]]  # fmt: skip
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
FILES = sorted(PACKAGE.rglob("*.py"))


def imported_units(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("emeraldcut."):
            names.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            names |= {a.name.split(".")[1] for a in node.names if a.name.startswith("emeraldcut.")}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_data_flows_one_way(path):
    unit = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if unit == "__init__":
        return
    for other in imported_units(path) - {unit}:
        assert LEVEL[other] < LEVEL[unit], f"{unit} imports {other}"


def test_every_folder_has_its_place():
    units = {p.name.removesuffix(".py") for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert units - {"__init__"} == set(LEVEL)


@pytest.mark.parametrize("name", emeraldcut.__all__)
def test_public_names_exist_and_say_what_they_are(name):
    value = getattr(emeraldcut, name)
    assert name == "__version__" or value.__doc__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing"):
        _ = emeraldcut.nothing
