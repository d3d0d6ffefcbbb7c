from __future__ import annotations

import glob
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.catalog._find import find
from headrace.codecs._formats import EXTENSIONS
from headrace.errors import CatalogError, NoRecordingsError
from headrace.failures import Code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def make_files(root: Path, *files: str) -> Path:
    """Create empty files."""
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a folder with three WAV files, one FLAC file and one text file."""
    return make_files(tmp_path / "data", "a.wav", "B/b.WAV", "B/C/c.flac", "B/C/d.wav", "notes.txt")


def test_a_recursive_glob_matches_at_every_depth_and_whatever_the_case(tree: Path) -> None:
    """``**/*.wav`` finds files in the folder itself and below, also upper-case, sorted by id."""
    found = find(f"{tree}/**/*.wav")

    assert found.ids == ["B/C/d.wav", "B/b.WAV", "a.wav"]
    assert found.root == str(tree)


def test_an_upper_case_pattern_matches_lower_case_extensions_only(tree: Path) -> None:
    """Case is ignored in the extension, and not in the rest of the name."""
    make_files(tree, "x.tar.WAV", "X.TAR.wav")

    assert find(tree / "*.tar.Wav").ids == ["x.tar.WAV"]
    assert find(tree / "[aA].WAV").ids == ["a.wav"]
    assert find(tree / "*.[W]a[v-v]").ids == ["X.TAR.wav", "a.wav", "x.tar.WAV"]


@pytest.mark.parametrize("pattern", ["", "/", "/**", "/**/*", "/**/*.*", "/**/**"])
def test_without_an_extension_only_audio_counts(tree: Path, pattern: str) -> None:
    """A folder, and a glob without an extension, find files with audio extensions."""
    assert find(f"{tree}{pattern}").ids == ["B/C/c.flac", "B/C/d.wav", "B/b.WAV", "a.wav"]


def test_with_an_extension_every_match_counts(tree: Path) -> None:
    """An extension that the user gives is accepted; reading the header decides."""
    assert find(f"{tree}/*.TXT").ids == ["notes.txt"]


def test_a_file_named_by_itself_needs_no_known_extension(tree: Path) -> None:
    """A file is found whatever its name, and its folder is the root."""
    found = find(tree / "notes.txt")

    assert (found.root, found.ids) == (str(tree), ["notes.txt"])


def test_a_file_that_two_patterns_match_is_there_once(tree: Path) -> None:
    """The union of patterns is a set."""
    found = find([f"{tree}/**/*.wav", tree, tree / "a.wav", f"{tree}/?.wav"])

    assert found.ids == ["B/C/c.flac", "B/C/d.wav", "B/b.WAV", "a.wav"]


def test_ids_are_relative_to_what_all_patterns_share(tree: Path) -> None:
    """The root is the common folder of the patterns, each up to its first wildcard."""
    assert find([f"{tree}/B/C/*.wav", f"{tree}/B/b.WAV"]).ids == ["C/d.wav", "b.WAV"]
    assert find(f"{tree}/B/C/*.wav").ids == ["d.wav"]
    assert find(f"{tree}/*/C/*.wav").ids == ["B/C/d.wav"]


def test_root_decides_what_ids_are_relative_to(tree: Path) -> None:
    """With root=, ids begin there, above or below the patterns' own folder."""
    assert find(f"{tree}/B/C/*.wav", root=tree).ids == ["B/C/d.wav"]
    assert find(f"{tree}/B/*/*.wav", root=tree / "B" / "C").ids == ["d.wav"]


def test_a_file_outside_root_is_refused(tree: Path) -> None:
    """The message names the file that would have no id, and what to do."""
    with pytest.raises(CatalogError, match=r"a\.wav' lies outside root=.*/B'.*leave root out"):
        find(tree / "a.wav", root=tree / "B")
    with pytest.raises(CatalogError, match="lies outside"):  # a name with the same beginning
        find(make_files(tree, "Bb/x.wav") / "Bb", root=tree / "B")


@pytest.mark.parametrize(
    "hidden", [".h.wav", "._a.wav", ".git/x.wav", "B/.cache/x.wav", "B/.cache/C/x.wav"]
)
def test_hidden_names_are_skipped(tree: Path, hidden: str) -> None:
    """No wildcard matches a hidden name, nor a name inside a hidden folder."""
    make_files(tree, hidden)

    for pattern in ("**/*.wav", "**", "*/*.wav", "*.wav", "*/*/*.wav"):
        assert not any("/." in f"/{name}" for name in find(f"{tree}/{pattern}").ids)


def test_hidden_names_are_found_where_the_pattern_names_them(tree: Path) -> None:
    """A component that begins with a dot matches hidden names."""
    make_files(tree, ".cache/x.wav", "B/.cache/y.wav", ".h.wav")

    assert find(f"{tree}/.cache/**/*.wav").ids == ["x.wav"]
    assert find(f"{tree}/*/.cache/*.wav").ids == ["B/.cache/y.wav"]
    assert find(f"{tree}/.*.wav").ids == [".h.wav"]
    assert find(tree / ".h.wav").ids == [".h.wav"]


def test_existing_names_with_brackets_are_literal(tmp_path: Path) -> None:
    """Files called ``take[2].wav`` can be given as they are."""
    make_files(tmp_path, "take[2].wav", "s[1]/x.wav", "take2.wav", "take3.wav")

    assert find(tmp_path / "take[2].wav").ids == ["take[2].wav"]
    assert find(f"{tmp_path}/s[1]/*.wav").ids == ["x.wav"]
    assert find(f"{tmp_path}/take[23].wav").ids == ["take2.wav", "take3.wav"]
    assert find(f"{tmp_path}/take[[]*.wav").ids == ["take[2].wav"]


def test_a_folder_called_like_audio_is_found_and_entered(tmp_path: Path) -> None:
    """It cannot be used and must be reported; the files in it can."""
    make_files(tmp_path, "x.wav/y.wav", "z.dir/y.wav")

    assert find(f"{tmp_path}/**/*.wav").ids == ["x.wav", "x.wav/y.wav", "z.dir/y.wav"]
    assert find(tmp_path / "x.wav").ids == ["y.wav"]


def test_a_linked_folder_is_followed(tree: Path, tmp_path: Path) -> None:
    """A file behind a link has an id with the link's name."""
    make_files(tmp_path / "elsewhere", "e.wav")
    (tree / "link").symlink_to(tmp_path / "elsewhere")

    assert find(f"{tree}/**/*.wav").ids == ["B/C/d.wav", "B/b.WAV", "a.wav", "link/e.wav"]


@pytest.mark.parametrize("target", [".", "..", "../..", "../../..", "/"])
def test_a_loop_of_links_ends(tree: Path, target: str) -> None:
    """A link to a folder above it, even above the search, adds nothing."""
    (tree / "B" / "loop").symlink_to(target)

    assert find(f"{tree}/**/*.wav").ids == ["B/C/d.wav", "B/b.WAV", "a.wav"]


def test_two_folders_that_link_to_each_other_end(tmp_path: Path) -> None:
    """Each is entered once on every path from the top."""
    make_files(tmp_path, "a/1.wav", "b/2.wav")
    (tmp_path / "a" / "b").symlink_to("../b")
    (tmp_path / "b" / "a").symlink_to("../a")

    assert find(tmp_path).ids == ["a/1.wav", "a/b/2.wav", "b/2.wav", "b/a/1.wav"]


def test_a_link_to_itself_and_a_link_to_nothing_are_accounted_for(tmp_path: Path) -> None:
    """A name that matches is found even if there is no file behind it."""
    make_files(tmp_path, "a.wav")
    (tmp_path / "self.wav").symlink_to("self.wav")
    (tmp_path / "gone.wav").symlink_to("nowhere.wav")

    assert find(f"{tmp_path}/**/*.wav").ids == ["a.wav", "gone.wav", "self.wav"]


def test_relative_patterns_begin_in_the_working_folder(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative pattern, also one with ``..``, gives absolute paths."""
    monkeypatch.chdir(tree / "B")

    assert find("**/*.wav").ids == ["C/d.wav", "b.WAV"]
    assert find("../*.wav").root == str(tree)
    assert find(["../a.wav", "b.WAV"]).ids == ["B/b.WAV", "a.wav"]
    assert find("..").ids == ["B/C/c.flac", "B/C/d.wav", "B/b.WAV", "a.wav"]


def test_the_way_up_from_behind_a_link_is_the_systems(tmp_path: Path) -> None:
    """``link/..`` is the folder above the link's target, as for every other program."""
    make_files(tmp_path, "far/away/x.wav", "far/y.wav", "near/z.wav")
    (tmp_path / "near" / "link").symlink_to("../far/away")

    assert find(f"{tmp_path}/near/link/../*.wav").ids == ["y.wav"]


def test_the_home_folder_can_be_written_as_a_tilde(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``~`` is expanded in patterns and in root."""
    monkeypatch.setenv("HOME", str(tree))
    monkeypatch.setenv("USERPROFILE", str(tree))

    assert find("~/B/*.wav", root="~").ids == ["B/b.WAV"]


def test_two_dots_after_a_wildcard_are_refused(tree: Path) -> None:
    """The meaning of ``*/..`` is unclear."""
    with pytest.raises(CatalogError, match=r"'\.\.' after a wildcard"):
        find(f"{tree}/*/../*.wav")


def test_a_missing_folder_is_named_with_the_nearest_one(tree: Path) -> None:
    """The message shows a typo in a folder."""
    with pytest.raises(NoRecordingsError) as caught:
        find(f"{tree}/b-side/deep/**/*.wav")

    message = str(caught.value)
    assert "b-side/deep/**/*.wav" in message
    assert f"no folder '{tree}/b-side/deep'" in message
    assert f"exists, '{tree}', holds 'B/', 'a.wav', 'notes.txt'." in message


def test_a_missing_extension_is_named_with_those_that_exist(tree: Path) -> None:
    """The message shows a typo in an extension."""
    make_files(tree, ".hidden.mp3")

    with pytest.raises(NoRecordingsError) as caught:
        find(f"{tree}/**/*.mp3")

    message = str(caught.value)
    assert "**/*.mp3" in message
    assert "3 .wav, 1 .flac, 1 .txt" in message or "3 .wav, 1 .txt, 1 .flac" in message
    assert "'B/C/c.flac'" in message
    assert "Skipped 1 hidden name." in message


def test_a_missing_file_is_named(tree: Path) -> None:
    """The exception is also a FileNotFoundError."""
    with pytest.raises(FileNotFoundError, match=r"no file or folder '.*/A\.wav'.*'a\.wav'"):
        find(tree / "A.wav")


def test_an_empty_folder_is_reported(tmp_path: Path) -> None:
    """The message says that there are no files."""
    with pytest.raises(NoRecordingsError, match="there are no files"):
        find(tmp_path)
    with pytest.raises(NoRecordingsError, match="holds nothing that is not hidden"):
        find(tmp_path / "x.wav")


def test_one_pattern_of_several_that_matches_nothing_is_an_error(tree: Path) -> None:
    """The other patterns' files do not hide a typo."""
    with pytest.raises(NoRecordingsError, match=r"Nothing matches '.*\.ogg'"):
        find([f"{tree}/**/*.wav", f"{tree}/**/*.ogg"])


@pytest.mark.parametrize("patterns", ["", [], [""]])
def test_no_pattern_is_an_error(patterns: str | list[str]) -> None:
    """No pattern and an empty pattern are errors."""
    with pytest.raises(NoRecordingsError, match="pattern"):
        find(patterns)


@pytest.mark.parametrize("pattern", [b"x.wav", 3, None])
def test_another_type_of_pattern_is_a_type_error(pattern: object) -> None:
    """Bytes and numbers are programming errors."""
    with pytest.raises(TypeError, match="string or a path"):
        find([pattern])  # type: ignore[list-item]


def test_a_folder_that_cannot_be_listed_is_a_failure(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that may be in it are not lost silently."""
    look = os.scandir

    def refuse(folder: str) -> os._ScandirIterator[str]:
        if Path(folder).name == "C":
            raise PermissionError(13, "Permission denied", folder)
        return look(folder)

    monkeypatch.setattr(os, "scandir", refuse)

    found = find(f"{tree}/**/*.wav")

    assert found.ids == ["B/b.WAV", "a.wav"]
    assert [(one.file_id, one.code) for one in found.failures] == [("B/C", Code.PERMISSION)]
    assert found.failures[0].path == f"{tree}/B/C"


def _deny_access_below(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Have the system deny access to everything below a folder."""

    def refusing(look: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def refuse(path: Any, **more: Any) -> os.stat_result:
            if name in Path(os.fspath(path)).parent.parts:
                raise PermissionError(13, "Permission denied", path)
            return look(path, **more)

        return refuse

    monkeypatch.setattr(os, "stat", refusing(os.stat))
    monkeypatch.setattr(os, "lstat", refusing(os.lstat))


@pytest.mark.parametrize("inside", ["C", "C/*.wav", "c.flac"])
def test_a_path_without_access_is_a_failure(
    tree: Path, monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    """The failure says that there is no permission, rather than no file."""
    _deny_access_below(monkeypatch, "B")

    found = find(tree / "B" / inside, root=tree)

    assert found.ids == []
    name = "B/" + inside.removesuffix("/*.wav")
    assert [(one.file_id, one.code) for one in found.failures] == [(name, Code.PERMISSION)]
    assert found.failures[0].path == f"{tree}/{name}"


def test_a_link_that_may_not_be_followed_is_a_failure(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder might be behind it; a link that matches itself is read like any file."""

    class Entry:
        def __init__(self, name: str) -> None:
            self.name, self.path = name, f"{tree}/{name}"

        def is_dir(self) -> bool:
            raise PermissionError(13, "Permission denied", self.path)

    look = os.scandir

    @contextmanager
    def closed(folder: str) -> Iterator[list[Any]]:
        with look(folder) as entries:
            wanted = Path(folder) == tree
            yield [*entries, *([Entry("link"), Entry("link.wav")] if wanted else [])]

    monkeypatch.setattr(os, "scandir", closed)

    found = find(f"{tree}/**/*.wav")

    assert "link.wav" in found.ids
    assert [(one.file_id, one.code) for one in found.failures] == [("link", Code.PERMISSION)]


def test_the_root_itself_has_an_id_when_it_is_closed(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An id is relative to the root, so the root's own id is a dot."""

    def refuse(folder: str) -> os._ScandirIterator[str]:
        raise PermissionError(13, "Permission denied", folder)

    monkeypatch.setattr(os, "scandir", refuse)

    found = find(tree)

    assert [(one.file_id, one.path) for one in found.failures] == [(".", str(tree))]


def test_other_extensions_can_be_given(tree: Path) -> None:
    """Patterns without an extension then match these, and not audio."""
    texts = frozenset({".txt"})

    for pattern in (tree, tree / "*", tree / "**", f"{tree}/**/*.*"):
        assert find(pattern, extensions=texts).ids == ["notes.txt"]
    assert find(tree / "*.wav", extensions=texts).ids == ["a.wav"]


def test_a_folder_that_is_deleted_during_the_walk_is_skipped(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is as if it had not been there."""
    look = os.scandir

    def vanish(folder: str) -> os._ScandirIterator[str]:
        if Path(folder).name == "C":
            raise FileNotFoundError(2, "No such file or directory", folder)
        return look(folder)

    monkeypatch.setattr(os, "scandir", vanish)

    found = find(f"{tree}/**/*.wav")

    assert (found.ids, found.failures) == (["B/b.WAV", "a.wav"], [])


@pytest.mark.skipif(os.name == "nt", reason="file names are Unicode there")
def test_a_name_that_is_not_utf8_is_a_failure(tmp_path: Path) -> None:
    """A name that no table can store is reported in printable form."""
    make_files(tmp_path, "good.wav")
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.wav")).touch()
    except OSError:
        pytest.skip("this file system has UTF-8 names only")

    found = find(f"{tmp_path}/*.wav")

    assert found.ids == ["good.wav"]
    assert [(one.file_id, one.code) for one in found.failures] == [
        ("bad\\xff.wav", Code.UNSUPPORTED)
    ]


def test_importing_headrace_does_not_import_the_glob_library() -> None:
    """Only a search for files imports wcmatch."""
    code = "import sys, headrace; print('wcmatch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("pattern", "ids"),
    [
        ("[^a].wav", ["^.wav", "a.wav"]),
        ("[[:alpha:]]*.wav", ["a].wav"]),
        ("a\\[b].wav", ["a\\b.wav"]),
        ("{a,b}*.wav", []),
        ("@(a|b)*.wav", []),
        ("!a*.wav", []),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="a backslash separates folders there")
def test_a_pattern_has_no_syntax_beyond_that_of_glob(
    tmp_path: Path, pattern: str, ids: list[str]
) -> None:
    """Escapes, ``[^...]``, character classes, braces and extended globs are plain characters."""
    make_files(tmp_path, "a.wav", "b.wav", "^.wav", "a].wav", "a\\b.wav")

    try:
        found = find(f"{tmp_path}/{pattern}").ids
    except NoRecordingsError:
        found = []

    assert found == ids
    assert found == sorted(audio_in(tmp_path, pattern))


NAMES = st.sampled_from(
    ["a", "b", "ab", "a.wav", "b.wav", "ab.wav", "a.flac", ".h", ".h.wav", "x.txt"]
)
PARTS = st.sampled_from(["**", "*", "a", "?", "a*", "[ab]", "[!a]", ".h", "*b", "**"])
LASTS = st.sampled_from(
    ["*.wav", "[a].wav", "?.wav", "[!b]*.wav", "*", "**", "*.*", "*.[fw]*", ".*.wav"]
)


@given(
    files=st.lists(st.lists(NAMES, min_size=1, max_size=4).map("/".join), max_size=12),
    parts=st.lists(PARTS, max_size=3),
    last=LASTS,
)
@example(files=["a.wav/a"], parts=["*"], last="**")
@settings(deadline=None, max_examples=150)
def test_a_pattern_means_what_it_means_in_glob(
    files: list[str], parts: list[str], last: str
) -> None:
    """On any tree, the files found are the audio files that the standard library's `glob` finds."""
    pattern = "/".join([*parts, last])
    with tempfile.TemporaryDirectory() as folder:
        # find() requires that the part before the first wildcard exists.
        top = Path(folder) / "top"
        top.mkdir()
        for file in files:
            try:
                make_files(top, file)
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                continue  # a file has the name of a needed folder
        expected = sorted(set(audio_in(top, pattern)))

        try:
            found = find(f"{top}/{pattern}", root=top).ids
        except NoRecordingsError:
            found = []

    assert found == expected


def audio_in(top: Path, pattern: str) -> Iterator[str]:
    """Yield the files that `glob` finds and that have an audio extension."""
    for name in glob.glob(pattern, root_dir=top, recursive=True):  # noqa: PTH207  the oracle
        if name and Path(name).suffix in EXTENSIONS:
            yield Path(name).as_posix()
