"""SVG drawings in two schemes, as text that is the same whenever it is made of the same figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["SCHEMES", "Drawing", "Scheme"]

Scheme = Literal["light", "dark"]
SCHEMES: Final[tuple[Scheme, ...]] = ("light", "dark")

# Text has a contrast of at least 4.5 to the page in each scheme, bars of at least 3: the limits of
# WCAG 2.2. Colour-blind people can tell `warm` from `accent` (Okabe and Ito, 2008).
_COLOURS: Final = {
    "light": {
        "ink": "#1d2b2e",
        "faint": "#55656a",
        "grid": "#d5dddf",
        "quiet": "#8496a0",
        "accent": "#0b6b7c",
        "pale": "#cfe6ea",
        "warm": "#b84a00",
    },
    "dark": {
        "ink": "#e6eef0",
        "faint": "#a5b5ba",
        "grid": "#3a484d",
        "quiet": "#74868d",
        "accent": "#5cc0d0",
        "pale": "#1f4a53",
        "warm": "#f2994f",
    },
}
_FONT: Final = "system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif"


@dataclass
class Drawing:
    """Shapes on a transparent page; x grows to the right, y downwards, in pixels.

    Colours are names: `ink`, `faint` (text), `grid`, `quiet`, `accent`, `pale`, `warm` (shapes).
    """

    width: float
    height: float
    scheme: Scheme
    title: str
    _shapes: list[str] = field(default_factory=list)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        colour: str = "ink",
        size: float = 13,
        anchor: Literal["start", "middle", "end"] = "start",
        bold: bool = False,
    ) -> None:
        """Write words, whose base line begins, has its middle or ends at a place."""
        more = ' font-weight="600"' if bold else ""
        self._shapes.append(
            f'<text x="{_number(x)}" y="{_number(y)}" font-size="{_number(size)}" '
            f'text-anchor="{anchor}" fill="{self._colour(colour)}"{more}>{escape(words)}</text>'
        )

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        fill: str | None = None,
        line: str | None = None,
        round_: float = 2,
    ) -> None:
        """Draw a rectangle, filled or with an outline or both."""
        self._shapes.append(
            f'<rect x="{_number(x)}" y="{_number(y)}" width="{_number(width)}" '
            f'height="{_number(height)}" rx="{_number(round_)}" fill="{self._colour(fill)}" '
            f'stroke="{self._colour(line)}"/>'
        )

    def line(
        self,
        points: Iterable[tuple[float, float]],
        *,
        colour: str = "faint",
        width: float = 1,
        dashed: bool = False,
        arrow: bool = False,
    ) -> None:
        """Draw a line through points; an arrow ends in a head."""
        places = list(points)
        dashes = ' stroke-dasharray="4 3"' if dashed else ""
        path = " ".join(f"{_number(x)},{_number(y)}" for x, y in places)
        self._shapes.append(
            f'<polyline points="{path}" fill="none" stroke="{self._colour(colour)}" '
            f'stroke-width="{_number(width)}" stroke-linejoin="round"{dashes}/>'
        )
        if arrow:
            (x0, y0), (x, y) = places[-2:]
            length = ((x - x0) ** 2 + (y - y0) ** 2) ** 0.5
            dx, dy = 6 * (x - x0) / length, 6 * (y - y0) / length
            self.area(
                [(x, y), (x - dx - dy / 2, y - dy + dx / 2), (x - dx + dy / 2, y - dy - dx / 2)],
                fill=colour,
            )

    def area(self, points: Iterable[tuple[float, float]], *, fill: str) -> None:
        """Fill the area that a line around it encloses."""
        path = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
        self._shapes.append(f'<polygon points="{path}" fill="{self._colour(fill)}"/>')

    def dots(
        self, places: Iterable[tuple[float, float]], *, size: float = 2, colour: str = "accent"
    ) -> None:
        """Draw a small square at each place."""
        half = size / 2
        path = "".join(
            f"M{_number(x - half)} {_number(y - half)}h{_number(size)}v{_number(size)}"
            f"h-{_number(size)}z"
            for x, y in places
        )
        self._shapes.append(f'<path d="{path}" fill="{self._colour(colour)}"/>')

    def svg(self) -> str:
        """Return the file's text."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_number(self.width)} '
            f'{_number(self.height)}" width="{_number(self.width)}" '
            f'height="{_number(self.height)}" role="img" font-family="{_FONT}">'
        )
        title = f"<title>{escape(self.title)}</title>"
        return "\n".join([head, title, *self._shapes, "</svg>", ""])

    def _colour(self, name: str | None) -> str:
        return "none" if name is None else _COLOURS[self.scheme][name]


def _number(value: float) -> str:
    """Return a number with at most one decimal, and without a negative zero."""
    return f"{value + 0.0:.1f}".removesuffix(".0").replace("-0.0", "0")
