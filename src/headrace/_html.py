"""The one Jinja environment. Every page and notebook card is a template in `headrace/templates`."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from typing import TYPE_CHECKING

from headrace._formatting import (
    format_bytes,
    format_count,
    format_decibels,
    format_duration,
    format_hertz,
    format_time,
)

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["data_uri", "render"]


def render(template: str, **values: object) -> str:
    """Render a template to HTML; every value is escaped.

    Parameters
    ----------
    template : str
        Path of the template in ``headrace/templates``.
    **values
        Variables of the template.

    Returns
    -------
    str

    Raises
    ------
    jinja2.UndefinedError
        The template uses a variable that `values` lacks.
    """
    return _environment().get_template(template).render(values)


def data_uri(content: bytes, media_type: str) -> str:
    """Return a ``data:`` URI: an address that holds its content."""
    return f"data:{media_type};base64,{_base64(content)}"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("headrace")
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def source(name: str) -> str:
        """Return the text of a style sheet or script, to be put inline (with `safe`)."""
        return loader.get_source(environment, name)[0]

    environment.globals["source"] = source
    environment.filters.update(
        base64=_base64,
        csp_hash=_csp_hash,
        data_uri=data_uri,
        format_bytes=format_bytes,
        format_count=format_count,
        format_decibels=format_decibels,
        format_duration=format_duration,
        format_hertz=format_hertz,
        format_number=lambda number: f"{number:,}",
        format_time=format_time,
    )
    return environment


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _csp_hash(text: str) -> str:
    """Return the hash by which a content security policy allows an inline style or script."""
    return f"sha256-{_base64(hashlib.sha256(text.encode()).digest())}"
