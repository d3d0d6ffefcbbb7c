from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
import typer

import headrace
from headrace.bench._synthetic import write_archive
from headrace.cli import _commands as cli
from headrace.failures import Code
from tests.codecs.test_ffmpeg import write as encode
from tests.support.browser import SCREENS, accessibility_violations, open_page
from tests.support.sounds import medley

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
NOT_ONLY_OF_TODAY = [ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]
"""They name what was there once, and what a reader might add."""

_FENCE = re.compile(r"^```(\w*)([ \w]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_SHAPE = re.compile(r"# float32, shape (\([\d, ]+\))")
_FOLDERS = "benchmarks|docs|examples|src|tests"
_SHORT = {
    "bench": ["--rounds", "1", "--max-windows", "8"],
    "demo": ["--recordings", "2", "--seconds", "12", "--rounds", "1", "--budget-s", "0"],
}
"""What is added to a command that would take long."""


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _text(page: Path) -> str:
    return page.read_text("utf-8")


def _blocks(page: Path, language: str) -> Iterator[tuple[int, str, list[str]]]:
    """Yield each block of a language: the index of its first line, the block, and its needs.

    The needs are packages, named after the language.
    """
    text = _text(page)
    for fence in _FENCE.finditer(text):
        if fence[1] == language:
            yield text.count("\n", 0, fence.start(3)), fence[3], fence[2].split()


def _prose(page: Path) -> str:
    return _FENCE.sub("", _text(page))


def _commands() -> Iterator[list[str]]:
    """Yield the words of each command in the shell blocks."""
    for page in PAGES:
        for _, block, _ in _blocks(page, "sh"):
            for line in re.split(r"\n|&&|\|", block.replace("\\\n", " ")):
                if words := shlex.split(line, comments=True):
                    yield words


def _ours() -> list[list[str]]:
    return [words[1:] for words in _commands() if Path(words[0]).name == "headrace"]


def _anchors(page: Path) -> set[str]:
    """Return the anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working folder: two sites in ``raw_data``, a model, and M4A if there is PyAV."""
    write_archive(tmp_path, recordings=6, seconds=56, sites=2)
    (tmp_path / "birds.py").write_text(
        "def model(batch):\n    return batch.audio[:, :3]\n", "utf-8"
    )
    if importlib.util.find_spec("av") is not None:
        (tmp_path / "phone").mkdir()
        audio = medley(12 * 48_000).astype(np.float32)
        encode(importlib.import_module("av"), tmp_path / "phone" / "1.m4a", audio, "ipod", "aac")
    monkeypatch.chdir(tmp_path)
    return tmp_path


class _Shown(ast.NodeTransformer):
    """Passes the value of each expression statement to ``_show``, with its line number."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr:
        show = ast.Name("_show", ast.Load())
        call = ast.Call(show, [ast.Constant(node.lineno), node.value], [])
        return ast.copy_location(ast.Expr(call), node)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[] if page == ROOT / "README.md" else pytest.mark.slow)
        for page in PAGES
        if any(_blocks(page, "python"))
    ],
    ids=_name,
)
def test_python_runs_as_printed(page: Path) -> None:
    """The Python blocks of a page run one after the other and give the shapes that they state."""
    seen: dict[int, set[str]] = {}

    def show(line: int, value: Any) -> None:
        shape = getattr(value, "shape", None)
        seen.setdefault(line, set()).add(str(shape if shape is None else tuple(shape)))
        if hasattr(value, "dtype"):
            assert str(value.dtype).removeprefix("torch.") == "float32"

    names = {"__name__": page.stem, "_show": show, "train_on": lambda audio: audio}
    missing: set[str] = set()
    left_out: set[int] = set()  # lines
    for first, block, needs in _blocks(page, "python"):
        if absent := {name for name in needs if importlib.util.find_spec(name) is None}:
            missing |= absent
            left_out |= {*range(first + 1, first + 1 + block.count("\n"))}
            continue
        tree = _Shown().visit(ast.parse("\n" * first + block, str(page)))
        with warnings.catch_warnings():
            if needs:  # frameworks warn of themselves and of each other
                warnings.simplefilter("ignore")
            exec(compile(ast.fix_missing_locations(tree), str(page), "exec"), names)

    for number, line in enumerate(_text(page).splitlines(), 1):
        if (shape := _SHAPE.search(line)) and number not in left_out:
            assert shape[1] in seen.get(number, ()), f"{page.name}, line {number}: {line}"
    if missing:
        pytest.skip(f"blocks that need {', '.join(sorted(missing))}; the others were run")


@pytest.mark.parametrize("words", _ours(), ids=" ".join)
def test_every_command_line_is_understood(words: list[str]) -> None:
    """The commands and options on the pages exist."""
    commands = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]

    assert commands[words[0]].make_context(words[0], words[1:]).params


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("words", _ours(), ids=" ".join)
def test_every_command_line_runs(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command on the pages succeeds and prints something, with recordings like theirs."""
    if words[0] in ("export", "results"):  # of what another block on the page made
        _make_results(words[1], words)
    if "--results" in words:
        _make_results(words[words.index("--results") + 1], words)
    monkeypatch.setattr(sys, "argv", ["headrace", *words, *_SHORT.get(words[0], [])])

    with pytest.raises(SystemExit) as ended:
        cli.main()

    assert ended.value.code in {0, None}
    assert capsys.readouterr().out


def _make_results(folder: str, words: list[str]) -> None:
    """Make the results that a command reads: scores if it names classes, else calls."""

    def model(batch: Any) -> Any:
        if "--classes" in words:
            return {"scores": np.full((len(batch.file_id), 2), 0.75)}
        call = {"start_s": 0.5, "end_s": 0.75, "label": "call", "score": 0.8}
        return {"calls": [[call] for _ in batch.file_id]}

    Path("names.txt").write_text("loud\nquiet\n", encoding="utf-8")
    windows = headrace.scan("raw_data").windows(16_000, 3.0)
    windows.apply(model, folder, batch_size=32, name="a stand-in", progress=False)


def test_the_extras_that_are_installed_exist() -> None:
    """Every extra that a page or example names exists in pyproject.toml.

    All are installed from the folder that the reader has, none from a package index.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    texts = [_text(page) for page in PAGES]
    texts += [file.read_text("utf-8") for file in ROOT.glob("examples/*") if file.is_file()]
    installed = [
        (package, extra)
        for text in texts
        for package, extras in re.findall(r"""['"]?(\.|\bheadrace)\[([a-z,-]+)\]""", text)
        for extra in extras.split(",")
    ]
    named = {extra for _, extra in installed}

    assert {"docs", "jax", "notebook", "plot", "test", "torch"} <= named
    assert named <= set(project["optional-dependencies"])
    assert {package for package, _ in installed} == {"."}


def test_every_code_has_its_row() -> None:
    """The page on failures has a row for every code."""
    page = _text(ROOT / "docs" / "reference" / "failures.md")
    text = page.partition("\n## Codes\n")[2].partition("\n## ")[0]

    assert sorted(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == sorted(Code)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    """A link inside the project leads to an existing file or folder, and to an existing heading."""
    for link in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if re.match(r"\w+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in _anchors(target), f"{page.name}: {link}"


@pytest.mark.parametrize("page", sorted({*PAGES} - {*NOT_ONLY_OF_TODAY}), ids=_name)
def test_names_in_the_text_exist(page: Path) -> None:
    """There is what a sentence calls `headrace.name`, or `Catalog.name` for a public class."""
    public = {name: getattr(headrace, name) for name in headrace.__all__}
    for span in re.findall(r"`([^`\n]+)`", _prose(page)):
        for owner, name in re.findall(r"(?<![\w.])(headrace|[A-Z]\w+)\.([a-z_]\w*)", span):
            if owner == "headrace":
                module = importlib.util.find_spec(f"headrace.{name}")
                found = module is not None or hasattr(headrace, name)
            elif isinstance(public.get(owner), type):
                fields = getattr(public[owner], "__annotations__", {})  # of a dataclass
                found = name in fields or hasattr(public[owner], name)
            else:
                continue
            assert found, f"{owner}.{name}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_files_that_are_named_exist(page: Path) -> None:
    """A path on a page exists in the project, or a command on the page writes it."""
    text = _text(page)
    written = set(re.findall(r"--json ([\w./-]*\w)", text))
    for path in re.findall(rf"(?<![\w./-])(?:{_FOLDERS})/[\w./-]*\w", text):
        assert (ROOT / path).exists() or path in written, f"{page.name}: {path}"


def _packages() -> list[Path]:
    return sorted(path.parent for path in (ROOT / "src" / "headrace").glob("*/__init__.py"))


def test_every_package_and_every_folder_of_the_kernel_is_in_the_architecture() -> None:
    """The architecture page names every package and every folder of the kernel."""
    folders = [path for path in (ROOT / "src" / "kernel").iterdir() if path.is_dir()]
    page = _text(ROOT / "docs" / "architecture.md")

    missing = [
        path.relative_to(ROOT).as_posix()
        for path in [*_packages(), *folders]
        if not re.search(rf"`(?:[\w/.]*[/.])?{path.name}/?`", page)
    ]
    assert missing == []


@pytest.mark.parametrize("package", _packages(), ids=lambda path: path.name)
def test_every_package_says_what_it_promises_and_what_it_may_import(package: Path) -> None:
    """Its docstring begins with a sentence of its own and has one on the direction of imports."""
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text("utf-8"))) or ""
    promise, rule, packages = " ".join(text.split()).partition(" May import ")

    assert re.match(r"[A-Z].+[.:]", promise)
    assert rule
    assert packages


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the built site."""
    pytest.importorskip("material", reason="no MkDocs: pip install '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.mark.slow
def test_the_site_has_every_page_and_every_public_name(site: Path) -> None:
    """The site builds without a warning, and the reference has every public name."""
    built = {page.relative_to(site).with_suffix("") for page in site.rglob("*.html")}
    docs = {page.relative_to(ROOT / "docs").with_suffix("") for page in ROOT.glob("docs/**/*.md")}
    reference = "".join(page.read_text("utf-8") for page in site.glob("reference/*.html"))
    names = set(headrace.__all__) - {"adapters"}

    assert docs <= built
    assert {
        name for name in names if not re.search(rf'id="headrace\.[\w.]*\b{name}"', reference)
    } == set()


@pytest.mark.slow
def test_the_site_fetches_nothing_from_a_network(site: Path) -> None:
    """No page and no style sheet loads anything from outside the site."""
    fetched = r"""<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//[^"'\s>]+"""
    for file in [*site.rglob("*.html"), *site.rglob("*.css")]:
        found = re.findall(fetched + r"|url\(['\"]?(?:https?:)?//[^)]+", file.read_text("utf-8"))
        assert not found, f"{file.name}: {found}"


@pytest.mark.slow
def test_the_site_is_searched_from_disk(site: Path, browser: Browser) -> None:
    """The search works from disk on a phone's screen, without requests to a server or errors."""
    with open_page(browser, site / "explanation" / "performance.html", "phone") as it:
        assert it.page.evaluate("document.documentElement.scrollWidth") <= SCREENS["phone"][0]
        it.page.locator("label[for=__search]").first.click()
        it.page.locator(".md-search__input").press_sequentially("shuffle")
        it.page.locator(".md-search-result__item").first.wait_for()

    assert not it.complaints
    assert [url for url in it.requests if url.startswith("http")] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("how do I install it", "tutorials/learn"),
        ("which file formats", "reference/formats"),
        ("read recordings from S3", "howto/buckets"),
        ("labels from Raven", "howto/labels"),
        ("how much memory does it use", "explanation/memory"),
        ("why is my GPU waiting", "howto/diagnose"),
        ("how do I resume training after a crash", "howto/resume"),
        ("corrupt files", "howto/damaged"),
        ("replace DataLoader", "howto/migrate"),
        ("run BirdNET on my recordings", "howto/birds"),
    ],
)
def test_the_search_answers_questions_of_new_users(
    site: Path, browser: Browser, question: str, answer: str
) -> None:
    """The page that answers is among the first three that the search finds."""
    with open_page(browser, site / "index.html") as it:
        box = it.page.locator(".md-search__input")
        box.click()
        box.fill(question)
        box.press("End")  # a key is what starts the search
        it.page.locator(".md-search-result__item").nth(2).wait_for()
        links = it.page.eval_on_selector_all(
            ".md-search-result__item > a", "links => links.map(link => new URL(link.href).pathname)"
        )

    found = [Path(link).relative_to(site).with_suffix("") for link in dict.fromkeys(links)]
    assert Path(answer) in found[:3]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("page", ["index", "howto/shuffle"])
def test_pages_of_the_site_are_accessible_and_fit(
    site: Path, browser: Browser, page: str, screen: str, scheme: Literal["light", "dark"]
) -> None:
    """The start page and a how-to with pictures fit every screen; axe finds nothing serious."""
    with open_page(browser, site / f"{page}.html", screen, scheme) as it:
        shown = it.page.locator("article img:visible")

        assert it.overflow() == 0
        assert shown.count() == 1
        assert f"-{scheme}.svg" in str(shown.get_attribute("src"))
        assert not it.complaints  # before axe, which asks for style sheets in vain
        assert accessibility_violations(it.page) == []
