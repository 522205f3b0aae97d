"""The notebook runs from its first cell to its last, in a kernel of its own, and shows what it says."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent.parent / "docs" / "first_experiment.ipynb"


def shown(cell):
    """The types of what a cell shows, and the text of it."""
    types = {kind for output in cell.outputs for kind in output.get("data", {})}
    text = "".join(output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in cell.outputs)
    return types, text


def test_it_runs_and_shows_a_best_point_a_figure_and_a_table(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    there = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=None, startup_timeout=600, resources=there).execute()
    seen = [shown(cell) for cell in notebook.cells if cell.cell_type == "code"]
    assert not any("Error" in text for _, text in seen)
    assert any("'decay':" in text for _, text in seen)
    assert any("image/png" in types for types, _ in seen)
    assert any("text/html" in types and "test_accuracy" in text for types, text in seen)
    assert (tmp_path / "runs" / "first_experiment" / "report.html").exists()


def test_what_is_kept_of_it_was_seen_in_one_go():
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
