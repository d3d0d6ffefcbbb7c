import ast
import inspect
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import headrace

SOURCE = Path(headrace.__file__).parent

CALLED = {
    ("__init__", "__getattr__"): {"errors"},  # for the old name of an error
    ("catalog._catalog", "Catalog._repr_html_"): {"display"},
    ("catalog._catalog", "Catalog.windows"): {"windows"},
    ("catalog._catalog", "Catalog.windows_at"): {"windows"},
    ("observe._stats", "Stats._repr_html_"): {"display"},
    ("windows._examples", "AudioExample._repr_html_"): {"display"},
    ("windows._windows", "Windows.__getitem__"): {"loading"},
    ("windows._windows", "Windows._repr_html_"): {"display"},
    ("windows._windows", "Windows.loader"): {"loading"},
}
"""Functions that import a package of ours when they are called: the fluent calls, and the cards of
a notebook. The contracts in pyproject.toml list the same edges."""

MOST_MODULES = 20
"""In a folder: as many as a reader takes in at a glance."""

HEAVY = {
    "av",
    "jax",
    "jinja2",
    "pyarrow",
    "pandas",
    "rich",
    "scipy",
    "torch",
    "typer",
    "matplotlib",
}

FRAMEWORKS = {"jax", "torch"}
"""Each is imported by its own adapter only."""


def _name(path: Path) -> str:
    """Return a module's name: "adapters" for its ``__init__``, "adapters.torch"."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


FILES = {_name(path): path for path in SOURCE.rglob("*.py")}
MODULES = sorted(FILES)


def _imports(module: str) -> Iterator[tuple[str, str]]:
    """Yield the function, or "" for the module itself, and the module of ours that it imports.

    What only a type checker sees is left out.
    """

    def visit(node: ast.AST, scope: tuple[str, ...], *, inside: bool) -> Iterator[tuple[str, str]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                for other in child.orelse:
                    yield from visit(other, scope, inside=inside)
            elif isinstance(child, ast.ClassDef):
                yield from visit(child, (*scope, child.name), inside=inside)
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from visit(child, (*scope, child.name), inside=True)
            elif isinstance(child, ast.Import | ast.ImportFrom):
                for name in _ours(child):
                    yield ".".join(scope) if inside else "", name
            else:
                yield from visit(child, scope, inside=inside)

    yield from visit(ast.parse(FILES[module].read_text("utf-8")), (), inside=False)


def _ours(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        parents = [node.module or ""]
        if node.module == "headrace":
            parents = [
                f"headrace.{alias.name}"
                for alias in node.names
                if alias.name in FILES or alias.name == "_kernel"
            ] or ["headrace.__init__"]
    else:
        parents = [alias.name for alias in node.names]
    for name in parents:
        if name.split(".")[0] == "headrace":
            yield name.removeprefix("headrace.") if name != "headrace" else "__init__"


def _run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def test_the_public_surface_is_this_list() -> None:
    """A name is public because someone chose so: here, and nowhere else."""
    assert headrace.__all__ == [
        "AnnotationError",
        "Annotations",
        "AudioExample",
        "Batch",
        "Catalog",
        "CatalogError",
        "ClosedError",
        "Code",
        "Coverage",
        "Failure",
        "HeadraceError",
        "HeadraceWarning",
        "InvalidWindowsError",
        "KernelInfo",
        "Loader",
        "LogMel",
        "MemoryBudgetError",
        "NoRecordingsError",
        "Preview",
        "ReadError",
        "Recording",
        "StateError",
        "Stats",
        "TooManyFailuresError",
        "TransformError",
        "WindowSpec",
        "Windows",
        "adapters",
        "audio_chunk_dataloader",
        "audio_chunk_dataloader_threaded",
        "concat",
        "kernel_info",
        "load_catalog",
        "mix",
        "preview",
        "scan",
    ]
    assert all(hasattr(headrace, name) for name in headrace.__all__)


def test_only_these_functions_import_when_called() -> None:
    """The list above is complete: everything else is imported at the top of its module."""
    found: dict[tuple[str, str], set[str]] = {}
    for module in MODULES:
        for scope, name in _imports(module):
            if scope and not module.startswith("cli."):
                found.setdefault((module, scope), set()).add(name)

    assert found == CALLED


def test_a_folder_is_taken_in_at_a_glance() -> None:
    """No folder has more modules than a reader can keep apart."""
    folders = Counter(path.parent for path in FILES.values())

    assert max(folders.values()) <= MOST_MODULES


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    """Names that come when used do not hide a typo."""
    with pytest.raises(AttributeError, match="module 'headrace' has no attribute 'scann'"):
        headrace.scann  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("code", ["import headrace", "from headrace import *"])
def test_importing_headrace_imports_nothing_heavy(code: str) -> None:
    """Its price is at most NumPy and soundfile; tables and terminals come when used."""
    loaded = _run(f"{code}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})")

    assert "headrace" in loaded.split()
    assert not HEAVY & set(loaded.split())


def test_each_framework_is_imported_by_its_adapter_only() -> None:
    """Who does not ask for a framework never imports it."""
    for module, path in FILES.items():
        nodes = ast.walk(ast.parse(path.read_text("utf-8")))
        names = {
            name.split(".")[0]
            for node in nodes
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [])
            + ([node.module or ""] if isinstance(node, ast.ImportFrom) else [])
        }
        assert {f"adapters.{name}" for name in names & FRAMEWORKS} <= {module}


@pytest.mark.parametrize("framework", sorted(FRAMEWORKS))
def test_an_adapter_without_its_framework_says_what_to_install(framework: str) -> None:
    """Where a framework is missing, the error names the extra that brings it."""
    code = (
        f"import sys; sys.modules[{framework!r}] = None\n"
        "import headrace\n"
        f"try: headrace.adapters.{framework}\n"
        "except ModuleNotFoundError as error: print(error)"
    )

    assert f"pip install 'headrace[{framework}]'" in _run(code)


def test_an_adapter_that_is_not_there_is_an_attribute_error() -> None:
    """Adapters that come when used do not hide a typo."""
    with pytest.raises(AttributeError, match=r"'headrace\.adapters' has no attribute 'torhc'"):
        headrace.adapters.torhc  # type: ignore[attr-defined]  # noqa: B018


def _public(name: str) -> Iterator[tuple[str, object]]:
    """Yield a public name and, for a class, its public methods and properties."""
    thing = getattr(headrace, name)
    yield name, thing
    if inspect.isclass(thing):
        for attribute, value in vars(thing).items():
            described = isinstance(value, property | classmethod | staticmethod)
            described = described or inspect.isfunction(value) or hasattr(value, "func")
            if not attribute.startswith("_") and described:
                yield f"{name}.{attribute}", value


@pytest.mark.parametrize("name", headrace.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    """Classes, functions, methods and properties each have a docstring of their own."""
    for full, thing in _public(name):
        documented = thing.__func__ if isinstance(thing, classmethod | staticmethod) else thing
        text = inspect.cleandoc(documented.__doc__ or "")
        assert text.partition("\n")[0].rstrip().endswith("."), full
        assert not text.startswith(f"{name}("), f"{full} has only what dataclass wrote"


def test_every_error_is_one_of_ours_and_a_builtin_of_its_kind() -> None:
    """One `except` catches all of headrace's errors, and each also is what it naturally is."""
    natural = {
        "AnnotationError": ValueError,
        "CatalogError": ValueError,
        "ClosedError": RuntimeError,
        "MemoryBudgetError": ValueError,
        "NoRecordingsError": FileNotFoundError,
        "ReadError": OSError,
        "StateError": ValueError,
        "TooManyFailuresError": OSError,
        "TransformError": RuntimeError,
        "InvalidWindowsError": ValueError,
    }
    errors = {n for n in headrace.__all__ if n.endswith("Error")} - {"HeadraceError"}

    assert errors == set(natural)
    for name, builtin in natural.items():
        assert issubclass(getattr(headrace, name), headrace.HeadraceError)
        assert issubclass(getattr(headrace, name), builtin)
    assert issubclass(headrace.HeadraceWarning, UserWarning)


@pytest.mark.parametrize("home", [headrace, headrace.errors])
def test_the_old_name_of_an_error_works_with_a_warning(home: object) -> None:
    """WindowsError, which shadows a builtin on Windows, is InvalidWindowsError for one release."""
    with pytest.warns(
        DeprecationWarning, match="WindowsError is called InvalidWindowsError"
    ) as seen:
        old = home.WindowsError  # type: ignore[attr-defined]

    assert old is headrace.InvalidWindowsError
    assert [warning.filename for warning in seen] == [__file__]
