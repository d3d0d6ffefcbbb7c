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


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return a page's Markdown in the form that MkDocs understands."""
    folder = (DOCS / page.file.src_uri).parent
    # Drop the names of the packages that a block needs: only the tests use them.
    markdown = _NEEDS.sub(r"```\1", markdown)
    # The site's scheme can be chosen, and a browser's preference decides in `<picture>`.
    markdown = _PICTURE.sub(r"![\2](\3#only-light)![\2](\1#only-dark)", markdown)
    markdown = _LINK.sub(lambda link: _named(link, folder), markdown)
    return markdown.replace(_COMMANDS, _commands()) if _COMMANDS in markdown else markdown


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
