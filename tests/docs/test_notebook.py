from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import headrace
from tests.support.sounds import speechlike, write

if TYPE_CHECKING:
    from collections.abc import Callable

nbclient = pytest.importorskip("nbclient", reason="pip install '.[test-notebook]'")
nbformat = pytest.importorskip("nbformat")

NOTEBOOK = Path(__file__).parents[2] / "examples" / "fast_data_pipeline.ipynb"
CHOICE = "PATTERN = None"
EXTRAS = sys.platform != "win32" and all(map(importlib.util.find_spec, ("moto", "obstore")))
"""Whether the notebook's last section finds what it needs."""

TELL = """
import json
import os
print(json.dumps({
    "windows": len(windows),
    "prefetch": PREFETCH,
    "unbounded": unbounded[1],
    "bounded": bounded[1],
    "by_headrace": by_headrace[1],
    "peak": stats.peak_bytes,
    "memory_bound": stats.memory_bound,
    "swept": [row.workers for row in measured.rows],
    "recommended": measured.recommended,
    "losses": losses,
    "plain_losses": plain_losses,
    "waited": [plain_stats.wait_s, threaded_stats.wait_s],
    "bucket": BUCKET and {
        "same": same,
        "windows": len(remote),
        "requests": store_stats.store_requests,
        "rows": table.num_rows,
        "second_call": sum(calls),
        "complete": run.progress.complete,
        "most": max(table["surprise"].to_pylist()),
        "found": float(model.surprise(found.audio[np.newaxis])[0]),
    },
}))
"""
"""A last cell, from which the test learns what the notebook found."""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[Any, Any]]:
    """Return a function that runs the notebook with a pattern and returns its cells and results."""
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    # Jupyter's kernel works in another folder, where a relative PYTHONPATH means nothing.
    source = str(Path(headrace.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", source, prepend=os.pathsep)

    def run(pattern: str) -> tuple[Any, Any]:
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        (chosen,) = (cell for cell in notebook.cells if CHOICE in cell.source)
        chosen.source = chosen.source.replace(CHOICE, f"PATTERN = {pattern}")
        notebook.cells.append(nbformat.v4.new_code_cell(TELL, id="tell"))
        nbclient.NotebookClient(
            notebook,
            timeout=120,
            kernel_name="python3",
            resources={"metadata": {"path": str(tmp_path)}},
        ).execute()
        cells = {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}
        return cells, json.loads(cells["tell"].outputs[0].text)

    return run


def _shown(cell: Any, kind: str) -> str:
    """Return a cell's output of a MIME type."""
    return "".join(output.data.get(kind, "") for output in cell.outputs if "data" in output)


@pytest.mark.slow
def test_it_runs_and_shows_what_it_says(run: Callable[[str], tuple[Any, Any]]) -> None:
    """The backlog grows without a bound and not with one, and threads change no step of training.

    Times are not checked, because they depend on the machine.
    """
    cells, found = run("None")

    assert not [o for cell in cells.values() for o in cell.outputs if o.get("name") == "stderr"]
    assert found["windows"] == 300
    assert max(found["unbounded"]) > 3 * found["prefetch"]
    assert 0 < max(found["bounded"]) <= found["prefetch"]
    assert 0 < max(found["by_headrace"]) <= found["prefetch"]
    assert {len(found[name]) for name in ("unbounded", "bounded", "by_headrace")} == {300}
    assert 0 < found["peak"] <= found["memory_bound"]
    assert found["recommended"] in [*found["swept"], None]  # None: the noise decided
    assert len(found["losses"]) == 3 * -(-300 // 16)
    assert found["losses"] == pytest.approx(found["plain_losses"], rel=1e-4)
    assert found["losses"][-1] < 0.5 * found["losses"][0]
    assert "data:audio/flac" in _shown(cells["listen"], "text/html")
    for name in ("scan", "windows", "headrace", "verdict"):
        assert "<div" in _shown(cells[name], "text/html")
    if EXTRAS:
        bucket = found["bucket"]
        assert (bucket["same"], bucket["complete"], bucket["second_call"]) == (True, True, 0)
        assert bucket["windows"] == bucket["rows"] == 60
        assert bucket["requests"] >= 5
        assert bucket["found"] == pytest.approx(bucket["most"], rel=1e-4)
        assert "data:audio/flac" in _shown(cells["surprise"], "text/html")
    for name in ("jobs-plot", "backlog-plot", "bounded-plot", "sweep", "learn"):
        assert _shown(cells[name], "image/png")


@pytest.mark.slow
def test_it_runs_with_the_readers_own_recordings(
    run: Callable[[str], tuple[Any, Any]], tmp_path: Path
) -> None:
    """Every cell runs with a few short recordings of several sample rates, one of them silent."""
    folder = tmp_path / "mine" / "site"
    folder.mkdir(parents=True)
    write(folder / "a.flac", speechlike(30 * 8_000), 8_000, "FLAC", "PCM_16")
    write(folder / "b.flac", speechlike(2 * 48_000, channels=2), 48_000, "FLAC", "PCM_16")
    write(folder / "silent.flac", 0 * speechlike(5 * 16_000), 16_000, "FLAC", "PCM_16")

    cells, found = run("'mine/**/*.flac'")

    assert found["windows"] == 8
    assert max(found["by_headrace"]) <= 8
    assert "3 recordings" in _shown(cells["scan"], "text/html")
    assert not EXTRAS or found["bucket"]["rows"] == 8


@pytest.mark.slow
def test_its_last_section_is_left_out_without_the_extras(
    run: Callable[[str], tuple[Any, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without moto every cell runs, and the section begins with what is missing."""
    (tmp_path / "moto.py").write_text("raise ImportError('no moto here')\n", "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)

    cells, found = run("None")

    assert found["bucket"] is None
    assert cells["bucket"].outputs[0].text == "left out: no moto here\n"


def test_it_is_kept_without_outputs() -> None:
    """The notebook is valid and has no outputs, so that its changes can be reviewed."""
    notebook = nbformat.read(NOTEBOOK, as_version=nbformat.NO_CONVERT)

    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    for cell in notebook.cells:
        assert len(cell.source.splitlines()) <= 40
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
