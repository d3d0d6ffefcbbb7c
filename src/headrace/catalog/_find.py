"""Turn patterns into files. No other module walks directories.

A pattern is a recursive glob, a file or a folder. Its components have the meaning that they have in
`glob`: ``**`` matches zero or more folders; ``*``, ``?`` and ``[...]`` match within one name; a
hidden name is matched only by a component that itself begins with a dot. Three rules are added:

- The extension (the last component, from its last dot on) is matched without regard to case.
- If a name that contains brackets exists, it is taken literally: ``takes[2]/*.wav``.
- If the last component does not spell out an extension (``*``, ``**``, ``*.*``, or the pattern is a
  folder), it matches only names that have one of the given extensions.

Symbolic links to folders are followed. A folder that contains itself is entered once.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wcmatch import fnmatch

from headrace._formatting import brief, format_count
from headrace._paths import absolute, join
from headrace.codecs import EXTENSIONS
from headrace.errors import CatalogError, NoRecordingsError
from headrace.failures import Code, Failure
from headrace.storage import check_no_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["FoundFiles", "Search", "as_list", "find", "search_below"]

_MAX_LISTED: Final = (
    10_000  # names that a message counts, in a fraction of a second on a local disk
)
_MAX_SHOWN: Final = 5  # names in a message

_CASE: Final = fnmatch.IGNORECASE if os.name == "nt" else fnmatch.CASE
_LITERAL: Final = {"\\": "\\\\", "[^": "[\\^", "[:": "[\\:"}
"""Syntax that wcmatch has and `glob` does not: escapes, and ``[^...]`` and ``[[:alpha:]]``."""


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """The files that match some patterns.

    Attributes
    ----------
    root : str
        Absolute path of the folder that the ids are relative to.
    ids : list of str
        POSIX paths relative to `root`, sorted by code point, without duplicates.
    failures : list of Failure
        Folders that could not be listed, and names that are not UTF-8.
    """

    root: str
    ids: list[str]
    failures: list[Failure] = field(default_factory=list)


def find(
    patterns: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    root: str | os.PathLike[str] | None = None,
    extensions: frozenset[str] = EXTENSIONS,
) -> FoundFiles:
    """Find the files that match one or more patterns.

    Parameters
    ----------
    patterns : str, path, or several
        Recursive globs, files, or folders.
    root : str or path, optional
        Folder that ids are relative to. Default: the common folder of all patterns, each taken up
        to its first wildcard.
    extensions : frozenset of str
        Lower-case extensions that count if a pattern does not spell out one. Default: those of
        audio files.

    Returns
    -------
    FoundFiles
        Holds at least one file or one failure for every pattern.

    Raises
    ------
    NoRecordingsError
        A pattern matches nothing.
    CatalogError
        A file lies outside `root`, a pattern has ``..`` after a wildcard or is a URL, or the
        patterns have no common folder.
    TypeError
        A pattern is neither a string nor a path.
    """
    for path in [*as_list(patterns), *([] if root is None else [root])]:
        check_no_url(path)
    searches = [_parse_pattern(pattern, extensions) for pattern in as_list(patterns)]
    top = _common_folder(searches) if root is None else absolute(root)
    prefix = join(top, "")
    ids: set[str] = set()
    failures: dict[str, Failure] = {}
    for search in searches:
        matches = 0
        search_failures: list[Failure] = []
        base = join(search.folder, "")
        for name in search.files(search_failures):
            matches += 1
            path = base + name
            if not path.startswith(prefix):
                raise CatalogError(
                    f"The file {path!r} lies outside root={top!r} and would have no id: "
                    "give a root that contains all files, or leave root out."
                )
            if _is_utf8(path):
                ids.add(path[len(prefix) :])
            else:
                search_failures.append(_encoding_failure(path, prefix))
        if not matches and not search_failures:
            raise NoRecordingsError(search.describe_no_match())
        for failure in search_failures:
            file_id = "." if failure.path == top else failure.path.removeprefix(prefix)
            failures[failure.path] = replace(failure, file_id=file_id)
    return FoundFiles(top, sorted(ids), [failures[path] for path in sorted(failures)])


@dataclass(frozen=True, slots=True)
class _Component:
    """One component of a pattern, with wildcards."""

    regex: re.Pattern[str]
    folds_extension: bool
    """Whether extensions are compared in lower case."""

    @classmethod
    def parse(cls, text: str, *, is_last: bool) -> _Component:
        dot = _last_dot(text) if is_last else -1
        pattern = text if dot < 0 else text[:dot] + text[dot:].lower()
        for syntax, literal in _LITERAL.items():
            pattern = pattern.replace(syntax, literal)
        (regex,), _ = fnmatch.translate(pattern, flags=_CASE | fnmatch.FORCEUNIX)
        return cls(re.compile(regex), dot >= 0)

    def matches(self, name: str) -> bool:
        if self.folds_extension:
            dot = name.rfind(".")
            name = name if dot < 0 else name[:dot] + name[dot:].lower()
        return self.regex.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Search:
    """One pattern: the folder to search, and what to search for in it."""

    pattern: str
    folder: str
    components: tuple[_Component | None, ...]
    """Components below `folder`; None is ``**``, which is never the last. Empty if the pattern is
    the path of one file."""
    matches_folders: bool
    """Whether the pattern ends in ``**``, which matches a folder as well as its content."""
    file: str
    any_extension: bool
    """Whether the pattern spells out an extension, so that every matching name counts."""
    extensions: frozenset[str]
    """Extensions that count otherwise."""

    def files(self, failures: list[Failure]) -> Iterator[str]:
        """Yield the matching files, relative to `folder`; append what cannot be accessed."""
        if not self.components:
            if _stat_mode(join(self.folder, self.file), os.lstat, failures) is not None:
                yield self.file
            return
        if not stat.S_ISDIR(_stat_mode(self.folder, os.stat, failures) or 0):
            return
        entry_states = self.entry_states()
        # A link to a folder above the search would lead back here as well.
        above = frozenset(_identity(str(folder)) for folder in Path(self.folder).parents)
        stack = [("", entry_states[0], above)]
        while stack:
            prefix, states, ancestors = stack.pop()
            identity, entries = _list_entries(join(self.folder, prefix), ancestors, failures)
            inside = ancestors | {identity}
            for entry in entries:
                matched, deeper = self.advance(states, entry.name, entry_states)
                # If a matching name cannot be accessed, reading its header reports that.
                unreported = [] if matched else failures
                is_folder = (matched or bool(deeper)) and _is_folder(entry, unreported)
                matched |= self.matches_folders and is_folder and len(self.components) - 1 in deeper
                if matched and self.has_wanted_extension(entry.name, is_folder=is_folder):
                    yield prefix + entry.name
                if deeper and is_folder:
                    stack.append((f"{prefix}{entry.name}/", deeper, inside))

    def entry_states(self) -> list[frozenset[int]]:
        """Return for each component the set that a name there is compared with.

        These are the component itself and, because ``**`` may match no folder, what follows a
        ``**``.
        """
        states: list[frozenset[int]] = []
        for index in reversed(range(len(self.components))):
            itself = frozenset((index,))
            states.append(itself if self.components[index] is not None else states[-1] | itself)
        return states[::-1]

    def advance(
        self, states: frozenset[int], name: str, entry_states: list[frozenset[int]]
    ) -> tuple[bool, frozenset[int]]:
        """Return whether `name` matches, and the components to compare names inside it with."""
        matched = False
        deeper: frozenset[int] = frozenset()
        for state in states:
            component = self.components[state]
            if component is None:
                if not name.startswith("."):
                    deeper |= entry_states[state]
            elif component.matches(name):
                if state + 1 == len(self.components):
                    matched = True
                else:
                    deeper |= entry_states[state + 1]
        return matched, deeper

    def has_wanted_extension(self, name: str, *, is_folder: bool) -> bool:
        # A folder called x.wav counts: reading its header then reports that it is not a file.
        return _extension(name) in self.extensions or (self.any_extension and not is_folder)

    def describe_no_match(self) -> str:
        """Return a message: nothing matches the pattern, and these files exist instead."""
        begin = f"Nothing matches {self.pattern!r}"
        missing = Path(self.folder, self.file)
        if not self.components or not missing.is_dir():
            nearest = next((folder for folder in missing.parents if folder.is_dir()), Path("/"))
            kind = "file or folder" if not self.components else "folder"
            return (
                f"{begin}: there is no {kind} {str(missing)!r}. The nearest folder that exists, "
                f"{str(nearest)!r}, holds {_list_names(nearest)}."
            )
        return f"{begin}. {_describe_files_below(self.folder)} Check the pattern."


def as_list(
    patterns: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
) -> list[str]:
    if isinstance(patterns, str | os.PathLike):
        patterns = [patterns]
    texts = []
    for pattern in patterns:
        text = os.fspath(pattern) if isinstance(pattern, os.PathLike) else pattern
        if not isinstance(text, str):
            raise TypeError(f"A pattern must be a string or a path, not {brief(pattern)}.")
        if not text:
            raise NoRecordingsError(
                "An empty pattern matches nothing: give a glob, a file or a folder."
            )
        texts.append(text)
    if not texts:
        raise NoRecordingsError("No patterns were given: give at least one glob, file or folder.")
    return texts


def _parse_pattern(pattern: str, extensions: frozenset[str]) -> Search:
    # os.path.expanduser keeps a ~ that it cannot expand, where Path raises.
    parts = (Path.cwd() / os.path.expanduser(pattern)).parts
    folder, rest = parts[0], list(parts[1:])
    while rest and not _has_wildcard(rest[0], folder):
        folder = os.path.join(folder, rest.pop(0))
    folder = absolute(folder)
    if ".." in rest:
        raise CatalogError(
            f"The pattern {brief(pattern)} has '..' after a wildcard: remove the '..', and the "
            "component before it."
        )
    if not rest and not os.path.isdir(folder):
        folder, _, file = folder.rpartition("/")
        return Search(
            pattern, folder or "/", (), False, file, any_extension=True, extensions=extensions
        )
    return search_below(pattern, folder, rest, extensions)


def search_below(pattern: str, folder: str, rest: list[str], extensions: frozenset[str]) -> Search:
    """Return the search for the components `rest` below `folder`; without any, for all in it."""
    matches_folders = not rest or rest[-1] == "**"
    if matches_folders:
        rest = [*rest, "*"] if rest else ["**", "*"]
    last = rest[-1]
    dot = _last_dot(last)
    return Search(
        pattern,
        folder,
        tuple(
            None if part == "**" else _Component.parse(part, is_last=number == len(rest))
            for number, part in enumerate(rest, 1)
        ),
        matches_folders,
        "",
        any_extension=dot >= 0 and not any(wildcard in last[dot:] for wildcard in "*?["),
        extensions=extensions,
    )


def _has_wildcard(component: str, folder: str) -> bool:
    if "*" in component or "?" in component:
        return True
    return "[" in component and not os.path.lexists(join(folder, component))


def _last_dot(component: str) -> int:
    """Return the position of the last dot outside brackets, or -1."""
    last, position = -1, 0
    while position < len(component):
        if component[position] == ".":
            last = position
        if component[position] == "[":
            negated = component.startswith("!", position + 1)
            first = position + 2 if negated else position + 1
            close = component.find("]", first + 1)  # "]" in the first position is a literal
            position = max(position, close)
        position += 1
    return last


def _extension(name: str) -> str:
    return name[name.rfind(".") :].lower() if "." in name else ""


def _common_folder(searches: list[Search]) -> str:
    try:
        common = os.path.commonpath([search.folder for search in searches])
    except ValueError:
        raise CatalogError(
            "The patterns have no common folder that ids could be relative to: "
            "scan each separately."
        ) from None
    return common.replace(os.sep, "/")


def _list_entries(
    folder: str, ancestors: frozenset[tuple[int, int]], failures: list[Failure]
) -> tuple[tuple[int, int], list[os.DirEntry[str]]]:
    """Return the folder's identity, and its entries unless the folder contains itself."""
    identity = (0, 0)
    try:
        identity = _identity(folder)
        if identity not in ancestors:
            with os.scandir(folder) as names:
                return identity, list(names)
    except (FileNotFoundError, NotADirectoryError):
        pass  # deleted since its name was read
    except OSError as error:
        failures.append(_access_failure(folder.rstrip("/") or "/", "cannot list the folder", error))
    return identity, []


def _stat_mode(
    path: str, stat_function: Callable[[str], os.stat_result], failures: list[Failure]
) -> int | None:
    """Return the file mode, or None if there is no such file; append a failure to access it."""
    try:
        return stat_function(path).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):
        pass  # ValueError: a name that no file can have
    except OSError as error:
        failures.append(_access_failure(path, "cannot access it", error))
    return None


def _list_names(folder: Path) -> str:
    """Return the first names in `folder`."""
    try:
        names = sorted(
            repr(f"{path.name}/" if path.is_dir() else path.name)
            for path in folder.iterdir()
            if not path.name.startswith(".")
        )
    except OSError as error:
        return f"names that cannot be listed ({error.strerror})"
    if not names:
        return "nothing that is not hidden"
    more = len(names) - _MAX_SHOWN
    return ", ".join(names[:_MAX_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _describe_files_below(folder: str) -> str:
    """Return how many files with which extensions are below `folder`, and some of their names."""
    extensions: Counter[str] = Counter()
    examples: list[str] = []
    hidden = 0
    for parent, folders, files in os.walk(folder):
        hidden += sum(name.startswith(".") for name in (*files, *folders))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in files if not name.startswith(".")):
            extensions[_extension(name) or "without extension"] += 1
            if len(examples) < _MAX_SHOWN:
                examples.append(repr(Path(parent, name).relative_to(folder).as_posix()))
        if extensions.total() >= _MAX_LISTED:
            break
    skipped = f" Skipped {format_count(hidden, 'hidden name')}." if hidden else ""
    if not extensions:
        return f"Below {folder!r} there are no files.{skipped}"
    counts = ", ".join(f"{count} {name}" for name, count in extensions.most_common(_MAX_SHOWN))
    at_least = "at least " if extensions.total() >= _MAX_LISTED else ""
    return f"Below {folder!r} there are {at_least}{counts}: {', '.join(examples)}.{skipped}"


def _access_failure(path: str, what: str, error: OSError) -> Failure:
    path = _printable(path)
    code = Code.PERMISSION if isinstance(error, PermissionError) else Code.IO
    return Failure(path, path, code, f"{what}: {error.strerror or error}")


def _identity(folder: str) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _is_folder(entry: os.DirEntry[str], failures: list[Failure]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno != errno.ELOOP:  # a circle of links leads to nothing
            path = entry.path.replace(os.sep, "/")
            failures.append(_access_failure(path, "cannot access it", error))
        return False


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _printable(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _encoding_failure(path: str, prefix: str) -> Failure:
    path = _printable(path)
    return Failure(
        path.removeprefix(prefix), path, Code.UNSUPPORTED, "the name is not UTF-8: rename it"
    )
