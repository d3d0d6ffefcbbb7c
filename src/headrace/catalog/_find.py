"""Patterns to files: the only walker of directories.

A pattern is a recursive glob, a file or a folder. Its components mean what they mean in `glob`:
``**`` is zero or more folders, ``*``, ``?`` and ``[...]`` stay within one name, and a hidden name
is matched only by a component that itself begins with a dot. Three things are added:

- The extension, from the last dot of the last component on, is matched without regard to case.
- A name with brackets that exists is taken at its word: ``takes[2]/*.wav``.
- Where the last component does not spell out an extension (``*``, ``**``, ``*.*``, or the pattern
  is a folder), only names with one of the extensions that are looked for count.

Linked folders are followed. A folder that lies within itself is not entered a second time.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from headrace._paths import absolute, join
from headrace.catalog._descriptions import describe_folder_tree, list_folder
from headrace.codecs import EXTENSIONS
from headrace.errors import CatalogError, NoRecordingsError
from headrace.failures import Code, Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["Found", "find"]


@dataclass(frozen=True, slots=True)
class Found:
    """The files that some patterns match.

    Attributes
    ----------
    root : str
        Absolute path of the folder that the ids are relative to.
    ids : list of str
        POSIX paths relative to `root`, sorted by code point, each once.
    failures : list of Failure
        Folders that could not be looked into, and names that are not text.
    """

    root: str
    ids: list[str]
    failures: list[Failure] = field(default_factory=list)


def find(
    patterns: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    root: str | os.PathLike[str] | None = None,
    extensions: frozenset[str] = EXTENSIONS,
) -> Found:
    """Find the files that match.

    Parameters
    ----------
    patterns : str, path, or several
        Recursive globs, files, folders.
    root : str or path, optional
        What ids are relative to; default the common folder of all patterns, each taken up to its
        first wildcard.
    extensions : frozenset of str
        In lower case: what counts where a pattern does not spell out an extension; default those of
        audio.

    Returns
    -------
    Found
        At least one file, or a failure, for every pattern.

    Raises
    ------
    NoRecordingsError
        A pattern matches nothing.
    CatalogError
        A file lies outside `root`, a pattern has ``..`` after a wildcard, or the patterns have no
        common folder.
    TypeError
        A pattern is neither a string nor a path.
    """
    searches = [_read_pattern(pattern, extensions) for pattern in _as_list(patterns)]
    top = _common_folder(searches) if root is None else absolute(root)
    prefix = join(top, "")
    ids: set[str] = set()
    failures: dict[str, Failure] = {}
    for search in searches:
        matched = 0
        lost: list[Failure] = []
        base = join(search.folder, "")
        for name in search.files(lost):
            matched += 1
            path = base + name
            if not path.startswith(prefix):
                raise CatalogError(
                    f"The file {path!r} lies outside root={top!r}, so that it has no id: "
                    "give a root that holds all files, or leave root out."
                )
            if _is_text(path):
                ids.add(path[len(prefix) :])
            else:
                lost.append(_unspeakable(path, prefix))
        if not matched and not lost:
            raise NoRecordingsError(search.nothing())
        for failure in lost:
            file_id = "." if failure.path == top else failure.path.removeprefix(prefix)
            failures[failure.path] = replace(failure, file_id=file_id)
    return Found(top, sorted(ids), [failures[path] for path in sorted(failures)])


@dataclass(frozen=True, slots=True)
class _Component:
    """One name of a pattern, with wildcards."""

    regex: re.Pattern[str]
    hidden: bool
    folds: bool = False
    """Whether names are compared with their extension in lower case."""

    @classmethod
    def read(cls, text: str, *, last: bool) -> _Component:
        dot = _last_dot(text) if last else -1
        folded = text if dot < 0 else text[:dot] + text[dot:].lower()
        flags = re.IGNORECASE if os.name == "nt" else 0
        return cls(re.compile(fnmatch.translate(folded), flags), text.startswith("."), dot >= 0)

    def matches(self, name: str) -> bool:
        if name.startswith(".") and not self.hidden:
            return False
        if self.folds:
            dot = name.rfind(".")
            name = name if dot < 0 else name[:dot] + name[dot:].lower()
        return self.regex.match(name) is not None


@dataclass(frozen=True, slots=True)
class _Search:
    """One pattern: a folder, and what is looked for in it."""

    text: str
    folder: str
    components: tuple[_Component | None, ...]
    """Below `folder`; None is ``**``, never the last. Empty where `file` is wanted by name."""
    folders_too: bool
    """Whether the pattern ends in ``**``, so that a folder is as much a match as what is in it."""
    file: str
    any_extension: bool
    """Whether the pattern spells out the extension, so that whatever matches counts."""
    extensions: frozenset[str]
    """What else counts."""

    def files(self, lost: list[Failure]) -> Iterator[str]:
        """Yield the matching files, relative to `folder`; append to `lost` what cannot be seen."""
        if not self.components:
            if _mode(join(self.folder, self.file), os.lstat, lost) is not None:
                yield self.file
            return
        if not stat.S_ISDIR(_mode(self.folder, os.stat, lost) or 0):
            return
        reached = self._reached()
        # A link to a folder above the search would lead back here as well.
        above = frozenset(_identity(str(folder)) for folder in Path(self.folder).parents)
        stack = [("", reached[0], above)]
        while stack:
            prefix, states, ancestors = stack.pop()
            identity, entries = _look_into(join(self.folder, prefix), ancestors, lost)
            inside = ancestors | {identity}
            for entry in entries:
                matched, deeper = self._step(states, entry.name, reached)
                # What matches is read, and what is wrong with it found then.
                unseen = [] if matched else lost
                is_folder = (matched or bool(deeper)) and _is_folder(entry, unseen)
                matched |= self.folders_too and is_folder and len(self.components) - 1 in deeper
                if matched and self._counts(entry.name, is_folder=is_folder):
                    yield prefix + entry.name
                if deeper and is_folder:
                    stack.append((f"{prefix}{entry.name}/", deeper, inside))

    def _reached(self) -> list[frozenset[int]]:
        """Return for each component what one may match there: it, and what follows a ``**``."""
        reached: list[frozenset[int]] = []
        for place in reversed(range(len(self.components))):
            here = frozenset((place,))
            reached.append(here if self.components[place] is not None else reached[-1] | here)
        return reached[::-1]

    def _step(
        self, states: frozenset[int], name: str, reached: list[frozenset[int]]
    ) -> tuple[bool, frozenset[int]]:
        """Return whether `name` is a match, and where in the pattern one is inside it."""
        matched = False
        deeper: frozenset[int] = frozenset()
        for state in states:
            component = self.components[state]
            if component is None:
                if not name.startswith("."):
                    deeper |= reached[state]
            elif component.matches(name):
                if state + 1 == len(self.components):
                    matched = True
                else:
                    deeper |= reached[state + 1]
        return matched, deeper

    def _counts(self, name: str, *, is_folder: bool) -> bool:
        # A folder called x.wav is a finding: its header, which cannot be read, will say so.
        return _extension(name) in self.extensions or (self.any_extension and not is_folder)

    def nothing(self) -> str:
        """Say that nothing matches, and what is there instead."""
        begin = f"Nothing matches {self.text!r}"
        wanted = Path(self.folder, self.file)
        if not self.components or not wanted.is_dir():
            near = next((folder for folder in wanted.parents if folder.is_dir()), Path("/"))
            kind = "file or folder" if not self.components else "folder"
            return (
                f"{begin}: there is no {kind} {str(wanted)!r}. "
                f"The nearest folder that exists, {str(near)!r}, holds {list_folder(near)}."
            )
        return f"{begin}. {describe_folder_tree(self.folder)} Check the pattern."


def _as_list(
    patterns: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
) -> list[str]:
    if isinstance(patterns, str | os.PathLike):
        patterns = [patterns]
    texts = []
    for pattern in patterns:
        text = os.fspath(pattern) if isinstance(pattern, os.PathLike) else pattern
        if not isinstance(text, str):
            raise TypeError(f"A pattern is a string or a path, not {pattern!r}.")
        if not text:
            raise NoRecordingsError(
                "An empty pattern matches nothing: give a glob, a file or a folder."
            )
        texts.append(text)
    if not texts:
        raise NoRecordingsError("No patterns were given: give at least one glob, file or folder.")
    return texts


def _read_pattern(text: str, extensions: frozenset[str]) -> _Search:
    parts = (Path.cwd() / os.path.expanduser(text)).parts  # noqa: PTH111  it keeps what it cannot
    folder, rest = parts[0], list(parts[1:])
    while rest and not _is_wild(rest[0], folder):
        folder = os.path.join(folder, rest.pop(0))  # noqa: PTH118  a string, as everywhere here
    folder = absolute(folder)
    if ".." in rest:
        raise CatalogError(
            f"The pattern {text!r} has '..' after a wildcard: write it without the detour."
        )
    if not rest and not os.path.isdir(folder):  # noqa: PTH112
        folder, _, file = folder.rpartition("/")
        return _Search(
            text, folder or "/", (), False, file, any_extension=True, extensions=extensions
        )
    folders_too = not rest or rest[-1] == "**"
    if folders_too:
        rest += ["**", "*"] if not rest else ["*"]
    last = rest[-1]
    dot = _last_dot(last)
    return _Search(
        text,
        folder,
        tuple(
            None if part == "**" else _Component.read(part, last=place == len(rest))
            for place, part in enumerate(rest, 1)
        ),
        folders_too,
        "",
        any_extension=dot >= 0 and not any(wild in last[dot:] for wild in "*?["),
        extensions=extensions,
    )


def _is_wild(component: str, folder: str) -> bool:
    if "*" in component or "?" in component:
        return True
    return "[" in component and not os.path.lexists(join(folder, component))


def _last_dot(component: str) -> int:
    """Return the place of the last dot that is not within brackets, or -1."""
    last, place = -1, 0
    while place < len(component):
        if component[place] == ".":
            last = place
        if component[place] == "[":
            first = place + 2 if component.startswith("!", place + 1) else place + 1
            close = component.find("]", first + 1)  # a bracket may hold "]" in the first place
            place = max(place, close)
        place += 1
    return last


def _extension(name: str) -> str:
    return name[name.rfind(".") :].lower() if "." in name else ""


def _common_folder(searches: list[_Search]) -> str:
    try:
        common = os.path.commonpath([search.folder for search in searches])
    except ValueError:
        raise CatalogError(
            "The patterns have no common folder that ids could be relative to: scan each by itself."
        ) from None
    return common.replace(os.sep, "/")


def _look_into(
    folder: str, ancestors: frozenset[tuple[int, int]], lost: list[Failure]
) -> tuple[tuple[int, int], list[os.DirEntry[str]]]:
    """Return which folder it is and what is in it: nothing if it is one of its own ancestors."""
    identity = (0, 0)
    try:
        identity = _identity(folder)
        if identity not in ancestors:
            with os.scandir(folder) as names:
                return identity, list(names)
    except (FileNotFoundError, NotADirectoryError):
        pass  # gone since its name was read
    except OSError as error:
        lost.append(_closed(folder.rstrip("/") or "/", "the folder cannot be looked into", error))
    return identity, []


def _mode(path: str, look: Callable[[str], os.stat_result], lost: list[Failure]) -> int | None:
    """Return what kind of thing is there, or None; append to `lost` where that cannot be seen."""
    try:
        return look(path).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):
        pass  # ValueError: a name that no file can have
    except OSError as error:
        lost.append(_closed(path, "it cannot be seen", error))
    return None


def _closed(path: str, what: str, error: OSError) -> Failure:
    path = _printable(path)
    code = Code.PERMISSION if isinstance(error, PermissionError) else Code.IO
    return Failure(path, path, code, f"{what}: {error.strerror or error}")


def _identity(folder: str) -> tuple[int, int]:
    status = os.stat(folder)  # noqa: PTH116
    return status.st_dev, status.st_ino


def _is_folder(entry: os.DirEntry[str], lost: list[Failure]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno != errno.ELOOP:  # nothing is behind a link in a circle
            lost.append(_closed(entry.path.replace(os.sep, "/"), "it cannot be seen", error))
        return False


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _printable(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _unspeakable(path: str, prefix: str) -> Failure:
    path = _printable(path)
    return Failure(
        path.removeprefix(prefix), path, Code.UNSUPPORTED, "the name is not UTF-8: rename it"
    )
