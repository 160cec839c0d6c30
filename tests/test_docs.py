"""What the documents say is what the program does."""

import importlib.util
import re

import pytest

from emeraldcut.cli import COMMANDS
from tests.helpers import ROOT


def pages():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PAGES


@pytest.mark.parametrize("name", ["commands.md", "columns.md"])
def test_generated_pages_are_up_to_date(name):
    assert (ROOT / "docs" / name).read_text() == pages()[name](), "run `python docs/generate.py`"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_readme_names_every_command(name):
    assert f"emeraldcut {name}" in (ROOT / "README.md").read_text()


def test_the_readme_tree_is_the_tree():
    text = (ROOT / "README.md").read_text()
    shown = set(re.findall(r"^  ([a-z_]+(?:/|\.py)) ", text, re.M))
    package = ROOT / "src" / "emeraldcut"
    real = {f"{p.name}/" for p in package.iterdir() if (p / "__init__.py").exists()}
    real |= {p.name for p in package.glob("*.py") if p.name != "__init__.py"}
    assert shown == real


def test_links_and_pictures_of_the_readme_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text()):
        assert target.startswith("http") or (ROOT / target).exists(), target
