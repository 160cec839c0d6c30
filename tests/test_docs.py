"""What the documents say is what the program does: pages, links, versions, and examples in docstrings."""

import doctest
import importlib
import importlib.util
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

import emeraldcut
from emeraldcut.cli import COMMANDS
from tests.helpers import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
SOURCES = sorted((ROOT / "src").rglob("*.py"))


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
    shown = set(re.findall(r"^  ([a-z_]+(?:/|\.py)) ", text, re.MULTILINE))
    package = ROOT / "src" / "emeraldcut"
    real = {f"{p.name}/" for p in package.iterdir() if (p / "__init__.py").exists()}
    real |= {p.name for p in package.glob("*.py") if p.name != "__init__.py"}
    assert shown == real


def prose(page: Path) -> str:
    """The text of a page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What can follow `#` in a link to a page: its headings as GitHub writes them, and anchors of its own."""
    text, found = prose(page), set()
    for heading in re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")
        found.add(next(n for n in (name, *(f"{name}-{k}" for k in range(1, 100))) if n not in found))
    return found | set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_exist(page):
    """Those that lead to files and headings of ours."""
    text = re.sub(r"`[^`]*`", "", prose(page))
    targets = re.findall(r"\]\(([^) ]+)(?: \"[^\"]*\")?\)", text) + re.findall(
        r"^\[[^]]+\]: +(\S+)", text, re.MULTILINE
    )
    targets += re.findall(r"(?:src|href)=\"([^\"]+)\"", text)
    broken = []
    for target in targets:
        if re.match(r"[a-z]+:", target):  # https:, mailto:
            continue
        place, _, anchor = unquote(target).partition("#")
        path = (page.parent / place).resolve() if place else page
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            broken.append(target)
    assert not broken


def test_anchors_are_those_of_github(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# What `measure` does, and why?\n## See [it](a.md)\n## Twice\n## Twice\n```\n# no heading\n```\n")
    assert anchors(page) == {"what-measure-does-and-why", "see-it", "twice", "twice-1"}


def test_the_version_to_cite_is_the_version():
    stated = re.search(r"^version: *(.+?) *$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert stated and stated[1].strip("\"'") == emeraldcut.__version__


@pytest.mark.parametrize("path", [path for path in SOURCES if ">>> " in path.read_text()], ids=lambda path: path.stem)
def test_examples_in_docstrings_run(path, tmp_path, monkeypatch):
    """From an empty folder; none is left out."""
    assert "doctest: +SKIP" not in path.read_text()
    module = importlib.import_module(".".join(path.relative_to(ROOT / "src").with_suffix("").parts))
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(module)
    assert result.attempted and not result.failed
