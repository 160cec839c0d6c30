"""The house: which folder may import from which, no circles of files, and what the package offers."""

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

import emeraldcut
from tests.helpers import ROOT

PACKAGE = Path(emeraldcut.__file__).parent
# Each folder imports only from those before it; those of one line are siblings, which do not know each other.
LAYERS = [["errors"], ["settings", "numerics"], ["data"], ["runs", "frame"], ["nbody", "galaxies", "tables"],
          ["camera", "isophotes", "networks", "images"], ["mergers", "similarity", "exchange", "detection"],
          ["search", "studies", "screening"], ["report"], ["review", "results", "demo"],
          ["api", "quick_help", "summary"], ["cli"], ["__main__"]]  # fmt: skip
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
FILES = sorted(PACKAGE.rglob("*.py"))


@cache
def nodes_of(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imported_units(path: Path) -> set[str]:
    names = set()
    for node in nodes_of(path):
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


def module_of(path: Path) -> str:
    """The name under which a file is imported; a folder's is that of its `__init__`."""
    return ".".join(("emeraldcut", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


def imported_modules(path: Path) -> set[str]:
    """The files that a file imports from, anywhere in it: at the top, inside functions, and for types alone."""
    named = set()
    for node in nodes_of(path):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            named |= {f"{node.module}.{a.name}" if f"{node.module}.{a.name}" in MODULES else node.module
                      for a in node.names}  # fmt: skip
        elif isinstance(node, ast.Import):
            named |= {a.name for a in node.names}
    return named & set(MODULES)


def circles(imports: dict[str, set[str]]) -> set[frozenset[str]]:
    """Groups of files each of which imports, in one step or more, all others of its group."""

    def reached(start: str) -> set[str]:
        found, next_ones = set(), list(imports[start])
        while next_ones:
            name = next_ones.pop()
            if name not in found:
                found.add(name)
                next_ones += imports[name]
        return found

    reach = {name: reached(name) for name in imports}
    return {frozenset(b for b in reach[a] if a in reach[b]) for a in reach if a in reach[a]}


def test_no_files_import_each_other_in_a_circle():
    """Not for types either: whoever reads one file of a circle has to read all of them."""
    found = circles({name: imported_modules(path) for name, path in MODULES.items()})
    assert [sorted(circle) for circle in found] == []


def test_circles_are_found():
    imports = {"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": {"e"}, "e": {"d", "f"}, "f": set(), "g": {"a"}}
    assert circles(imports) == {frozenset("abc"), frozenset("de")}


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


# Where our names are used besides the package itself; names that only tests use are dead.
USERS = ("benchmarks", "docs", "examples", "paper", "tools")


def words_of(folder: Path) -> Counter[str]:
    files = [p for p in folder.rglob("*") if p.suffix in (".py", ".md", ".ipynb", ".jinja", ".html", ".js", ".rst")]
    return Counter(word for file in files for word in re.findall(r"\w+", file.read_text(encoding="utf-8")))


def defined(path: Path) -> set[str]:
    """The functions, classes and constants of a file, but for those that a decorator hands on to others."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            if not any(ast.unparse(decorator) == "atexit.register" for decorator in node.decorator_list):
                names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
    return names


def test_nothing_is_dead():
    """What is defined is used: by the package, or by those whom it serves."""
    used = words_of(PACKAGE)
    for folder in USERS:
        if (ROOT / folder).exists():
            used += words_of(ROOT / folder)
    dead = {f"{path.relative_to(PACKAGE)}: {name}" for path in FILES for name in defined(path) if used[name] < 2}
    assert not {name for name in dead if not name.endswith("__")}


LONGEST = 60  # lines of a function; a longer one says why in a comment `# long: ...` on its first line or above it


def functions_above(path: Path, lines: int) -> list[str]:
    """Names of functions with more lines, decorators not counted, that give no reason."""
    source, found = path.read_text(encoding="utf-8").splitlines(), []
    for node in nodes_of(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno + 1 > lines:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            if not any("# long: " in line for line in source[max(first - 2, 0) : node.lineno]):
                found.append(node.name)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_functions_are_short(path):
    assert not functions_above(path, LONGEST)


def test_long_functions_are_found_unless_they_give_a_reason(tmp_path):
    body = "    pass\n" * 4
    method = "        pass\n" * 4
    file = tmp_path / "functions.py"
    file.write_text(
        f"def long():\n{body}\n\ndef short():\n    pass\n\n\n# long: a table\n@compiled\ndef reason():\n{body}"
        f"\n\nclass Some:\n    async def other(self):\n{method}"
    )
    assert functions_above(file, 4) == ["long", "other"]
    assert functions_above(file, 5) == []
