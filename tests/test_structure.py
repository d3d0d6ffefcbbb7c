import ast
import inspect
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import headrace

SOURCE = Path(headrace.__file__).parent

IMPORTS_IN_FUNCTIONS = {
    ("__init__", "__getattr__"): {"errors"},  # for the old name of an error
    ("catalog._catalog", "Catalog._repr_html_"): {"display"},
    ("catalog._catalog", "Catalog.pack"): {"packing"},
    ("catalog._catalog", "Catalog.windows"): {"windows"},
    ("catalog._catalog", "Catalog.windows_at"): {"windows"},
    ("catalog._catalog", "Catalog.crops"): {"windows"},
    ("observe._stats", "Stats._repr_html_"): {"display"},
    ("windows._batch", "AudioExample._repr_html_"): {"display"},
    ("windows._windows", "Windows.__getitem__"): {"loading"},
    ("windows._windows", "Windows._repr_html_"): {"display"},
    ("windows._windows", "Windows.apply"): {"inference"},
    ("windows._windows", "Windows.loader"): {"loading"},
}
"""The only functions that import from headrace when they are called, and the packages they import.

They are the fluent calls, which go from a lower package to a higher one, and the notebook cards.
The contracts of import-linter in pyproject.toml list the same imports."""

MOST_MODULES = 20
"""In one folder; a reader should see its contents at a glance."""

HEAVY_PACKAGES = {
    "av",
    "jax",
    "jinja2",
    "pyarrow",
    "pandas",
    "ray",
    "rich",
    "scipy",
    "torch",
    "typer",
    "matplotlib",
    "moto",
    "obstore",
}

FRAMEWORKS = {"jax", "ray", "torch"}
"""Only the adapter of the same name imports one."""


def _module_name(path: Path) -> str:
    """Return a module's name inside headrace: "adapters" for its ``__init__``, "adapters.torch"."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


FILES = {_module_name(path): path for path in SOURCE.rglob("*.py")}
MODULES = sorted(FILES)


def _imports(module: str) -> Iterator[tuple[str, str]]:
    """Yield a module's imports from headrace, as pairs of a function and an imported module.

    The function is "" for imports at module level. Imports for type checkers only are left out.
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
                for name in _imported_from_headrace(child):
                    yield ".".join(scope) if inside else "", name
            else:
                yield from visit(child, scope, inside=inside)

    yield from visit(ast.parse(FILES[module].read_text("utf-8")), (), inside=False)


def _imported_from_headrace(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Yield the modules of headrace that a statement imports."""
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
    """Return what a new Python process prints that runs `code`."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def test_the_public_names_are_these() -> None:
    """A name becomes public, or stops being public, only on purpose."""
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
        "DamagedWarning",
        "Detections",
        "Failure",
        "HeadraceError",
        "HeadraceWarning",
        "InvalidWindowsError",
        "KernelInfo",
        "Loader",
        "LogMel",
        "MemoryBudgetError",
        "ModelError",
        "NoRecordingsError",
        "Preview",
        "ReadError",
        "Recording",
        "ResultsError",
        "Run",
        "RunProgress",
        "Split",
        "StateError",
        "Stats",
        "StoreError",
        "TooManyFailuresError",
        "TransformError",
        "WindowSpec",
        "Windows",
        "adapters",
        "audio_chunk_dataloader",
        "audio_chunk_dataloader_threaded",
        "concat",
        "from_table",
        "kernel_info",
        "load_catalog",
        "load_run",
        "mix",
        "preview",
        "scan",
    ]
    assert all(hasattr(headrace, name) for name in headrace.__all__)


STUBS = sorted(path for path in SOURCE.rglob("__init__.pyi") if path.parent.name != "_kernel")
"""Those of the packages. The compiled kernel's is tested in tests/kernel/test_seam.py."""


@pytest.mark.parametrize("stub", STUBS, ids=lambda path: path.parent.name)
def test_a_package_offers_the_names_that_its_stub_lists(stub: Path) -> None:
    """The names that type checkers see in ``__init__.pyi`` are those of ``__all__``."""
    imports = [
        node for node in ast.parse(stub.read_text("utf-8")).body if type(node) is ast.ImportFrom
    ]
    listed = {alias.asname for node in imports for alias in node.names}
    package = import_module(".".join(stub.relative_to(SOURCE.parent).parts[:-1]))

    assert listed == set(package.__all__)
    assert listed <= set(dir(package))


def test_imports_in_functions_are_listed() -> None:
    """Everything else from headrace is imported at the top of its module."""
    found: dict[tuple[str, str], set[str]] = {}
    for module in MODULES:
        for scope, name in _imports(module):
            if scope:
                found.setdefault((module, scope), set()).add(name)

    assert found == IMPORTS_IN_FUNCTIONS


def test_no_folder_has_too_many_modules() -> None:
    """No folder of headrace has more than `MOST_MODULES` modules."""
    folders = Counter(path.parent for path in FILES.values())

    assert max(folders.values()) <= MOST_MODULES


def test_a_misspelt_name_is_an_attribute_error() -> None:
    """Although names are imported on first use, a typo is reported as usual."""
    with pytest.raises(AttributeError, match="module 'headrace' has no attribute 'scann'"):
        _ = headrace.scann  # type: ignore[attr-defined]


@pytest.mark.parametrize("code", ["import headrace", "from headrace import *"])
def test_importing_headrace_imports_nothing_heavy(code: str) -> None:
    """pyarrow, rich, typer and optional packages are imported only when they are used."""
    loaded = _run(f"{code}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})")

    assert "headrace" in loaded.split()
    assert not HEAVY_PACKAGES & set(loaded.split())


def test_only_its_adapter_imports_a_framework() -> None:
    """Programs that do not use an adapter never import its framework."""
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
def test_a_missing_framework_is_an_error_with_advice(framework: str) -> None:
    """The error of the adapter names the extra to install."""
    code = (
        f"import sys; sys.modules[{framework!r}] = None\n"
        "import headrace\n"
        f"try: headrace.adapters.{framework}\n"
        "except ModuleNotFoundError as error: print(error)"
    )

    assert f"pip install 'headrace[{framework}]'" in _run(code)


def test_a_misspelt_adapter_is_an_attribute_error() -> None:
    """Although adapters are imported on first use, a typo is reported as usual."""
    with pytest.raises(AttributeError, match=r"'headrace\.adapters' has no attribute 'torhc'"):
        _ = headrace.adapters.torhc  # type: ignore[attr-defined]


def _with_methods(name: str) -> Iterator[tuple[str, object]]:
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
    for full, thing in _with_methods(name):
        documented = thing.__func__ if isinstance(thing, classmethod | staticmethod) else thing
        text = inspect.cleandoc(documented.__doc__ or "")
        assert text.partition("\n")[0].rstrip().endswith("."), full
        assert not text.startswith(f"{name}("), (
            f"{full} has only the docstring that dataclass generates"
        )


def test_every_error_is_a_headrace_error_and_a_natural_builtin() -> None:
    """One `except HeadraceError` catches all errors, and each also inherits a fitting builtin."""
    natural = {
        "AnnotationError": ValueError,
        "CatalogError": ValueError,
        "ClosedError": RuntimeError,
        "InvalidWindowsError": ValueError,
        "MemoryBudgetError": ValueError,
        "ModelError": RuntimeError,
        "NoRecordingsError": FileNotFoundError,
        "ReadError": OSError,
        "ResultsError": ValueError,
        "StateError": ValueError,
        "StoreError": OSError,
        "TooManyFailuresError": OSError,
        "TransformError": RuntimeError,
    }
    errors = {n for n in headrace.__all__ if n.endswith("Error")} - {"HeadraceError"}

    assert errors == set(natural)
    for name, builtin in natural.items():
        assert issubclass(getattr(headrace, name), headrace.HeadraceError)
        assert issubclass(getattr(headrace, name), builtin)
    assert issubclass(headrace.HeadraceWarning, UserWarning)


@pytest.mark.parametrize("module", [headrace, headrace.errors], ids=["headrace", "errors"])
def test_the_old_name_of_an_error_works_with_a_warning(module: object) -> None:
    """WindowsError is InvalidWindowsError, and the warning points at the line that uses it."""
    with pytest.warns(
        DeprecationWarning, match="WindowsError was renamed: use headrace.InvalidWindowsError"
    ) as seen:
        old = module.WindowsError  # type: ignore[attr-defined]

    assert old is headrace.InvalidWindowsError
    assert [warning.filename for warning in seen] == [__file__]
