from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
from pathlib import Path

import pytest

import headrace

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def _run(*command: object, cwd: Path) -> str:
    """Run a program that sees no headrace but the one that is installed; return its output."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    words = [str(word) for word in command]
    done = subprocess.run(
        words, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_a_version_is_the_same_everywhere() -> None:
    """The project, the citation and the newest release in the changelog agree, on the date too."""
    cited = (ROOT / "CITATION.cff").read_text("utf-8")
    fields = dict(re.findall(r"^([\w-]+): (.+)$", cited, re.MULTILINE))
    released = re.search(
        r"^## \[(\d[\w.]*)\] - (\d{4}-\d\d-\d\d)$",
        (ROOT / "CHANGELOG.md").read_text("utf-8"),
        re.MULTILINE,
    )

    assert released is not None
    assert (fields["version"], fields["date-released"]) == released.groups()
    assert fields["version"] == PROJECT["project"]["version"] == headrace.__version__
    assert fields["license"] == PROJECT["project"]["license"]


def test_wheels_are_built_for_each_python_that_is_named() -> None:
    """The classifiers, the lowest version and the configuration of the wheels name the same."""
    named = [
        int(minor)
        for line in PROJECT["project"]["classifiers"]
        for minor in re.findall(r"Python :: 3\.(\d+)$", line)
    ]
    (built,) = re.findall(r"^cp31\{([\d,]+)\}-", PROJECT["tool"]["cibuildwheel"]["build"])

    assert named == [int(f"1{digit}") for digit in built.split(",")]
    assert PROJECT["project"]["requires-python"] == f">=3.{named[0]}"


@pytest.mark.slow
def test_the_wheel_of_the_sdist_runs_in_a_bare_environment(tmp_path: Path) -> None:
    """The sdist has all but what is compiled; the demo runs with only its wheel and requirements.

    One test, because what it builds takes a minute.
    """
    pytest.importorskip("build", reason="pip install '.[dev]'")
    _run(sys.executable, "-m", "build", "--outdir", tmp_path / "dist", ROOT, cwd=tmp_path)
    (sdist,) = (tmp_path / "dist").glob("*.tar.gz")
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    expected = {"LICENSE", "README.md", "CHANGELOG.md", "SECURITY.md", "CITATION.cff"}
    expected |= {"CMakeLists.txt", "src/kernel/python/module.cpp", "src/headrace/__init__.py"}
    expected |= {"tests/docs/test_release.py", "docs/index.md"}
    assert expected <= names
    assert [name for name in names if re.search(r"\.(so|pyd|pyc|o)$|^build/|^\.venv/", name)] == []

    venv.create(tmp_path / "bare", with_pip=True)
    programs = tmp_path / "bare" / ("Scripts" if os.name == "nt" else "bin")
    _run(programs / "python", "-m", "pip", "install", wheel, cwd=tmp_path)
    options = ["--recordings", "2", "--seconds", "12", "--rounds", "1", "--budget-s", "0"]
    printed = _run(programs / "headrace", "demo", *options, cwd=tmp_path)
    where = _run(
        programs / "python", "-c", "import headrace; print(headrace.__file__)", cwd=tmp_path
    )

    assert re.search(r"threaded, \d workers? +[\d,]+", printed)
    assert Path(where.strip()).is_relative_to(tmp_path / "bare")
