"""MkDocs hooks: adapt pages that are written for the repository to the site."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import typer

DOCS = Path(__file__).parent

_NEEDS = re.compile(r"^```(\w+) [ \w]+$", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\((\.\./[^)\s]+)\)")
_COMMANDS = "<!-- commands -->"
_PICTURE = re.compile(
    r'<picture>\s*<source media="\(prefers-color-scheme: dark\)" srcset="([^"]+)">\s*'
    r'<img alt="([^"]+)" src="([^"]+)">\s*</picture>'
)


# The search also finds words at the beginning of longer words ("is" in `is_random`), so that the
# reference, which has most words, would come first. The numbers are tried, not computed.
_BOOSTS = {"howto": 4.0, "tutorials": 1.5, "explanation": 2.0, "reference": 0.5}


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Return a page's Markdown in the form that MkDocs understands, and set what finds it."""
    source = page.file.src_uri
    page.meta["search"] = {"boost": _BOOSTS.get(source.partition("/")[0], 1.0)}
    page.meta["tags"] = config["extra"]["search_words"].get(source.removesuffix(".md"), "").split()
    folder = (DOCS / page.file.src_uri).parent
    # Drop the names of the packages that a block needs: only the tests use them.
    markdown = _NEEDS.sub(r"```\1", markdown)
    # A reader can choose the site's scheme; `<picture>` knows only the browser's preference. The
    # links open a picture alone, where it can be zoomed.
    markdown = _PICTURE.sub(r"[![\2](\3#only-light)](\3)[![\2](\1#only-dark)](\1)", markdown)
    markdown = _LINK.sub(lambda link: _named(link, folder), markdown)
    return markdown.replace(_COMMANDS, _commands()) if _COMMANDS in markdown else markdown


def on_post_page(output: str, **_: Any) -> str:
    """Return a page whose search has a name, for screen readers; the theme gives it none."""
    dialog = 'data-md-component="search" role="dialog"'
    return output.replace(dialog, f'{dialog} aria-label="Search"')


def _named(link: re.Match[str], folder: Path) -> str:
    """Return a link to a file that is not on the site as text with the file's path."""
    target = (folder / link[2].partition("#")[0]).resolve()
    if target.is_relative_to(DOCS):
        return link[0]
    return f"{link[1]} (`{target.relative_to(DOCS.parent).as_posix()}`)"


def _commands() -> str:
    """Return each command's help as Markdown."""
    from headrace.cli import app

    parts = []
    for name, command in typer.main.get_command(app).commands.items():
        text, _, examples = (command.help or "").partition("[cyan]")
        examples = re.sub(r"\n +", "\n", examples.replace("[/cyan]", "")).strip()
        options = [param.get_help_record(_context(command)) for param in command.params]
        rows = [f"| `{option}` | {_cell(told)} |" for option, told in filter(None, options)]
        table = "\n".join(["| option | |", "|---|---|", *rows])
        parts.append(f"## {name}\n\n{text.strip()}\n\n```sh\n{examples}\n```\n\n{table}")
    return "\n\n".join(parts)


def _context(command: Any) -> Any:
    return typer.Context(command)


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("**", r"\*\*")
