"""Shapes of SVG, as text: each with a class, by which the page's style sheet draws it."""

from collections.abc import Iterable

from markupsafe import Markup


def image(
    kind: str, name: str, size: tuple[int, int], title: str, desc: str, body: Iterable[Markup]
) -> Markup:
    """An SVG with a title and a text in its place. name: makes its ids unique in a page."""
    width, height = size
    return Markup(
        '<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" '
        'aria-labelledby="{name}-t {name}-d"><title id="{name}-t">{title}</title>'
        '<desc id="{name}-d">{desc}</desc>{body}</svg>'
    ).format(
        kind=kind,
        width=width,
        height=height,
        name=name,
        title=title,
        desc=desc,
        body=Markup("").join(body),
    )


def words(kind: str, x: int, y: int, text: str, anchor: str = "start") -> Markup:
    where = Markup(' text-anchor="{}"').format(anchor) if anchor != "start" else ""
    return Markup('<text class="{}" x="{}" y="{}"{}>{}</text>').format(kind, x, y, where, text)


def rect(kind: str, x: int, y: int, width: int, height: int) -> Markup:
    shape = Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>')
    return shape.format(kind, x, y, width, height)


def line(kind: str, x: int, y: int, x2: int, y2: int) -> Markup:
    shape = Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>')
    return shape.format(kind, x, y, x2, y2)


def path(kind: str, way: str) -> Markup:
    return Markup('<path class="{}" d="{}"/>').format(kind, way)


def head_of(kind: str, x: int, y: int, way: int = 1) -> Markup:
    """An arrow's head at x, pointing to the right or, with way -1, the left."""
    return path(f"{kind}-head", f"M{x} {y}l{-7 * way} -4v8z")


def dot(kind: str, x: int, y: int) -> Markup:
    return Markup('<circle class="{}" cx="{}" cy="{}" r="{}"/>').format(kind, x, y, 4)
