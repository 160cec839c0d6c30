"""What the documents say is what the program does: pages, links, versions, and examples in docstrings."""

import doctest
import importlib
import importlib.util
import inspect
import json
import re
import tomllib
from pathlib import Path
from urllib.parse import unquote

import pytest

import emeraldcut
from emeraldcut.cli import COMMANDS, command_parser, load
from emeraldcut.data import Flag
from emeraldcut.data.columns import COLUMNS
from tests.helpers import ROOT

DOCS = sorted(page for page in (ROOT / "docs").rglob("*.md") if "generated" not in page.parts)
PAGES = [*sorted(ROOT.glob("*.md")), *DOCS, *(ROOT / "paper").glob("*.md")]
GENERATED = ("commands.md", "columns.md", "api.md", "licences.md", "cards/null.md", "cards/population.md")
SOURCES = sorted((ROOT / "src").rglob("*.py"))


def module_of_docs(name):
    """A module of the folder docs."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generate():
    return module_of_docs("generate")


@pytest.mark.parametrize("name", GENERATED)
def test_generated_pages_are_up_to_date(name, generate):
    assert (ROOT / "docs" / name).read_text() == generate.PAGES[name](), "run `python docs/generate.py`"


def test_all_generated_pages_are_checked(generate):
    assert sorted(generate.PAGES) == sorted(GENERATED)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_on_the_first_page_and_among_the_commands(name):
    assert f"emeraldcut {name}" in (ROOT / "docs" / "start.md").read_text()
    assert f"## emeraldcut {name}\n" in (ROOT / "docs" / "commands.md").read_text()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_and_setting_has_a_page(name):
    """Those of the settings in the command's table, under their names; all others in the table of common flags."""
    page = (ROOT / "docs" / "commands.md").read_text()
    section = re.search(rf"^## emeraldcut {name}\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)[1]
    classes = [load(cls) for cls in COMMANDS[name].settings]
    named = {flag for item in re.findall(r"^\| `([a-z_0-9]+)` \|", section, re.MULTILINE)
             for flag in ("--" + item.rstrip("_").replace("_", "-"), "--no-" + item.replace("_", "-"))}  # fmt: skip
    named |= set(re.findall(r"`(--?[a-zA-Z-]+)`", page.split("## emeraldcut ")[0]))
    flags = {
        flag for action in command_parser(name, COMMANDS[name], classes)._actions for flag in action.option_strings
    }
    assert flags and not flags - named


@pytest.mark.parametrize("name", [name for name in emeraldcut.__all__ if name != "__version__"])
def test_every_public_name_is_in_the_reference(name):
    assert re.search(rf"^   {name}$|`{name}` is", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
def test_every_column_has_a_page(column):
    assert f"| `{column.name}` |" in (ROOT / "docs" / "columns.md").read_text()


@pytest.mark.parametrize("flag", Flag, ids=lambda flag: flag.name)
def test_every_quality_flag_has_a_page(flag):
    assert f"| {int(flag)} | {flag.name} |" in (ROOT / "docs" / "columns.md").read_text()


def test_every_page_has_a_place_in_the_site():
    """In a table of contents, or where one stands for all others."""
    additions = (ROOT / "docs" / "sphinx_additions.py").read_text()
    stands_for_others = re.search(r'^OTHERS = "([^"]+)"', additions, re.MULTILINE)[1]
    tables = {
        page: re.findall(r"^```\{toctree\}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE) for page in DOCS
    }
    assert any(stands_for_others in table for listed in tables.values() for table in listed)
    placed = {ROOT / "docs" / "index.md"}
    for page, listed in tables.items():
        for line in "\n".join(listed).splitlines():
            placed |= set(page.parent.glob(f"{line}.md")) if re.fullmatch(r"[\w/*-]+", line) else set()
    below = [page for page in DOCS if page.parent != ROOT / "docs"]  # those above are placed in any case
    assert not set(below) - placed


def test_licences_are_those_that_packages_state():
    licences = module_of_docs("generated_licences")
    named = {name for names in licences.required().values() for name in names}
    assert named <= set(licences.LICENCES)
    for name in named:
        stated = licences.stated_licence(name)
        assert not stated or stated in {licences.kind_of(part) for part in licences.LICENCES[name].split(" AND ")}, name
        assert licences.kind_of(licences.LICENCES[name]) not in ("GPL", "proprietary")


def test_the_tree_in_contributing_is_the_tree():
    text = (ROOT / "CONTRIBUTING.md").read_text()
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_and_pictures_exist(page):
    """Those that lead to files and headings of ours. A page that shows another one has that one's headings."""
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


def test_the_readme_shows_one_picture_and_badges():
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    assert [name for name in pictures if not name.startswith("https://img.shields.io/badge/")] == [
        "docs/pictures/best.png"
    ]


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_codemeta_says_what_the_package_says(project):
    facts = json.loads((ROOT / "codemeta.json").read_text())
    assert facts["version"] == emeraldcut.__version__ and facts["name"] == project["name"]
    assert facts["description"] == project["description"] and facts["keywords"] == project["keywords"]
    assert facts["license"].endswith(project["license"])
    assert facts["runtimePlatform"] == "Python " + project["requires-python"].replace(">=", ">= ")


def test_the_recipe_needs_what_the_package_needs(project):
    recipe = (ROOT / "conda" / "meta.yaml").read_text()
    stated = re.search(r'set version = "(.+?)"', recipe)
    assert stated and stated[1] == emeraldcut.__version__
    run = re.search(r"^  run:\n((?:    - .*\n)+)", recipe, re.MULTILINE)[1]
    needed = {f"python{project['requires-python']}", *project["dependencies"]}
    assert (
        set(run.replace("    - ", "").replace(" >=", ">=").replace("matplotlib-base", "matplotlib").split()) == needed
    )
    assert f"summary: {project['description']}" in recipe and f"license: {project['license']}" in recipe


def test_badges_say_what_the_package_says(project):
    text = (ROOT / "README.md").read_text()
    versions = [c.split(":: ")[-1] for c in project["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert f"![Licence: {project['license']}]" in text and f"![Python: {', '.join(versions)}]" in text
    assert re.findall(r"3\.\d+", (ROOT / ".github/workflows/ci.yml").read_text())[: len(versions)] == versions


def test_the_changelog_has_a_section_for_the_version():
    assert re.search(
        rf"^## .*\b{re.escape(emeraldcut.__version__)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )


NEEDS = {"train": "keras", "search": "cma"}  # packages of extras that examples need
LONG = {"demo", "search", "study", "suite", "train"}  # whose examples take some ten seconds


@pytest.mark.parametrize("path", [
    pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem in LONG))
    for path in SOURCES if ">>> " in path.read_text()
])  # fmt: skip
def test_examples_in_docstrings_run(path, tmp_path, monkeypatch):
    """From an empty folder; none is left out."""
    if path.stem in NEEDS:
        pytest.importorskip(NEEDS[path.stem])
    assert "doctest: +SKIP" not in path.read_text()
    module = importlib.import_module(".".join(path.relative_to(ROOT / "src").with_suffix("").parts))
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(module)
    assert result.attempted and not result.failed


@pytest.mark.parametrize("name", [
    name for name in emeraldcut.__all__ if not name.endswith(("Settings", "__"))
])  # fmt: skip
def test_every_public_function_has_an_example(name):
    assert ">>> " in inspect.getdoc(getattr(emeraldcut, name))


def test_no_page_takes_the_name_of_one_that_the_site_has_by_itself():
    """A page `search` would be lost: Sphinx writes its own search page over it."""
    assert not {"search", "genindex"} & {page.stem for page in DOCS if page.parent == ROOT / "docs"}


def test_the_paper_cites_what_its_bibliography_has_and_says_what_was_checked():
    text, entries = ((ROOT / "paper" / name).read_text() for name in ("paper.md", "paper.bib"))
    cited = set(re.findall(r"@([A-Za-z]+\d*[A-Za-z]*\d*)", text.split("---", 2)[2]))
    listed = re.findall(r"^% (?:Checked|Not checked)[^\n]*\n(?:%[^\n]*\n)*@\w+\{(\w+),", entries, re.MULTILINE)
    assert cited == set(listed) and len(listed) == len(re.findall(r"^@", entries, re.MULTILINE))
