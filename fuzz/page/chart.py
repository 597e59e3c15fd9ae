"""How something grew over time, as an SVG."""

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from fuzz.page.svg import image, line, path, words

WIDTH: Final = 340
HEIGHT: Final = 170
LEFT: Final = 46
RIGHT: Final = 12
TOP: Final = 26
BOTTOM: Final = 30


def chart(points: Sequence[tuple[float, int]], what: str, name: str) -> Markup:
    """Steps through `points`: seconds, rising, and a count that is not always 0.

    name: makes its ids unique in a page.
    """
    last, most = points[-1][0], max(count for _, count in points)

    def x(seconds: float) -> int:
        return LEFT + round((WIDTH - LEFT - RIGHT) * seconds / last)

    def y(count: float) -> int:
        return HEIGHT - BOTTOM - round((HEIGHT - TOP - BOTTOM) * count / most)

    way = f"M{LEFT} {y(0)}" + "".join(f"H{x(at)}V{y(count)}" for at, count in points)
    floor = HEIGHT - BOTTOM
    half = next(at for at, count in points if count * 2 >= most)
    body = [
        words("head", 2, 14, what),
        *(line("rule", LEFT, y(part), WIDTH - RIGHT, y(part)) for part in (most / 2, most)),
        words("axis", LEFT - 6, y(most) + 4, f"{most:,}", "end"),
        words("axis", LEFT - 6, floor + 4, "0", "end"),
        line("axis-line", LEFT, floor, WIDTH - RIGHT, floor),
        path("growth", way),
        words("axis", LEFT, HEIGHT - 10, "0 s"),
        words("axis", WIDTH - RIGHT, HEIGHT - 10, f"{last:,.0f} s", "end"),
    ]
    desc = f"{most:,} after {last:,.0f} s; half of them after {half:,.1f} s."
    return image("chart", name, (WIDTH, HEIGHT), f"{what} over time", desc, body)
