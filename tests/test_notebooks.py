"""The notebooks of four persons run from the first cell to the last, in less than three minutes in all."""

import json
from pathlib import Path

import pytest

from tests.helpers import ROOT

NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
pytestmark = pytest.mark.slow


def test_there_is_one_for_each_person():
    assert [path.stem for path in NOTEBOOKS] == [
        "one_odd_galaxy", "student_with_jpegs", "survey_astronomer", "theorist_with_snapshots",
    ]  # fmt: skip


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore")  # of Jupyter; those of emeraldcut come from another process
def test_a_notebook_runs(path: Path, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    import nbformat

    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))  # whatever the user of this machine has set
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where notebooks write
    book = nbformat.read(path, as_version=4)
    done = nbclient.NotebookClient(book, timeout=170, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    done.execute()
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    said = "".join(output.get("text", "") for output in outputs if output.get("name") == "stderr")
    assert "Traceback" not in said and "oneDNN" not in said
    assert sum(output.output_type in ("execute_result", "display_data") for output in outputs) >= 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_kept_without_their_outputs(path: Path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert cells[0]["cell_type"] == "markdown" and cells[0]["source"][0].startswith("# ")
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells if cell["cell_type"] == "code")
