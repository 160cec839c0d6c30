"""Builds an sdist and from it a wheel, checks what is in both, and runs the wheel in an environment of its own.

The environment takes the packages that emeraldcut needs from the one that runs this, but not an editable emeraldcut.
There the wheel also passes quick tests, those of `TESTS`, as the sdist holds them. All others run with
`python -m pytest` in the unpacked sdist.
"""

import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
LARGEST_BYTES = 8_000_000  # 4.2 MB of them are the network and what ordinary galaxies are like
TESTS = ("test_architecture.py", "test_docs.py", "test_docs_blocks.py", "test_settings.py", "galaxies/test_shapes.py")
TRY = """
import emeraldcut
for name in emeraldcut.__all__:
    getattr(emeraldcut, name)
print(emeraldcut.__version__, emeraldcut.__file__)
"""


def output_of(*command: str | Path, folder: Path = ROOT) -> str:
    """What a command prints; ends this program with it if it fails."""
    done = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def build(folder: Path) -> tuple[Path, Path]:
    """The sdist, unpacked in `folder`, and the wheel that is built from it."""
    output_of(sys.executable, "-m", "build", "--sdist", "--wheel", "--outdir", folder, ROOT)
    (archive,), (wheel,) = folder.glob("emeraldcut-*.tar.gz"), folder.glob("emeraldcut-*.whl")
    with tarfile.open(archive) as held:
        held.extractall(folder / "sdist", filter="data")
    (source,) = (folder / "sdist").iterdir()
    return source, wheel


def check_sdist(source: Path) -> None:
    """Every file that git knows is in the sdist, but for settings of tools that only serve a clone."""
    known = output_of("git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    left_out = {".gitignore", ".pre-commit-config.yaml"}
    wanted = {name for name in known if name not in left_out and not name.startswith(".ci/") and (ROOT / name).exists()}
    held = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    if lacking := sorted(wanted - held):
        sys.exit(f"{source.name}.tar.gz lacks {len(lacking)} files, such as {lacking[0]}")


def check_contents(wheel: Path) -> None:
    """Every file of the package is in the wheel, whatever it holds, and the wheel is no larger than it should be."""
    package = ROOT / "src" / "emeraldcut"
    files = {
        path.relative_to(package.parent).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    if lacking := sorted(files - held):
        sys.exit(f"{wheel.name} lacks {len(lacking)} files, such as {lacking[0]}")
    if foreign := sorted(name for name in held - files if ".dist-info/" not in name):
        sys.exit(f"{wheel.name} holds {len(foreign)} files that are not of the package, such as {foreign[0]}")
    if wheel.stat().st_size > LARGEST_BYTES:
        sys.exit(f"{wheel.name} has {wheel.stat().st_size:,} bytes; expected {LARGEST_BYTES:,} at most")


def check_installed(wheel: Path, folder: Path) -> Path:
    """The Python of `folder`, in which the wheel is installed, imports its public names and tells the same version."""
    output_of(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    paths = {"base": str(folder), "platbase": str(folder)}
    own = Path(sysconfig.get_path("purelib", vars=paths))
    (own / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")  # .pth files in there are not followed
    output_of(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--ignore-installed",
              wheel)  # fmt: skip
    version, file = output_of(python, "-c", TRY, folder=folder).split(" ", 1)
    if not Path(file).resolve().is_relative_to(folder.resolve()):
        sys.exit(f"'{file}' was imported instead of the wheel")
    said = output_of(folder / "bin" / "emeraldcut", "--version", folder=folder).splitlines()[0]
    if said != f"emeraldcut {version}" or wheel.name.split("-")[1] != version:
        sys.exit(f"{wheel.name}, emeraldcut.__version__ '{version}' and '{said}' are of different versions")
    return python


def main() -> None:
    """Builds and checks in a folder that is removed at the end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, wheel = build(folder)
        if (ROOT / ".git").exists():
            check_sdist(source)
        check_contents(wheel)
        python = check_installed(wheel, folder / "venv")
        tests = [source / "tests" / test for test in TESTS]
        said = output_of(
            python, "-m", "pytest", "-m", "not slow", "-k", "not docstrings", "--color=no", *tests, folder=source
        ).splitlines()[-1]
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, holds all files, installs, imports, runs; "
              f"tests of the sdist: {said}")  # fmt: skip


if __name__ == "__main__":
    main()
