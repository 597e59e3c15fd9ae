"""A story as a sequence diagram: an SVG of fixed width, to stand beside others of its height.

Lanes, left to right: who else acts; of the vCPU KVM itself (L0), L1, L2, and SMM where it gets
there; then a track for each event that is ever pending. Time runs down, a row a step. A filled bar
is where the vCPU executes; a dashed one in L0 means that it does not, as KVM waits or spins.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

from markupsafe import Markup

from fuzz.page.story import Moment, Story
from fuzz.page.svg import dot, head_of, image, line, path, rect, words
from fuzz.report.inside import Inside

WIDTH: Final = 340
EDGE: Final = 20
"""From the left to the first lane."""
OTHER: Final = 40
"""From the lane of another who acts to the next."""
LANE: Final = 24
"""From lane to lane."""
APART: Final = 38
"""From the last lane to the first track."""
TRACK: Final = 28
"""From track to track."""
TEXT: Final = 17
"""From the last lane or track to the text."""
HEAD: Final = 50
LINE: Final = 15
"""From line to line of the text."""
ABOVE: Final = 20
"""From a row's top to its event, and to the first line of its text."""
BELOW: Final = 14
"""From a row's last line to its end."""
TALLEST: Final = 58
"""A row's height is at least this."""
CHARACTER: Final = {"says": 6.5, "note": 7.3, "parts": 7.2, "tag": 7.0}
"""The width of one, on average, in a wide font, by kind of text."""
PIECE: Final = re.compile(r"[^ _-]*[ _-]?")
"""What a long word is cut into."""
BAR: Final = 9


class Layout(NamedTuple):
    """Where things are, for all diagrams that stand beside each other.

    others, lanes, tracks: x by name. text: x. tops: of the rows, and the end of the last.
    """

    others: dict[str, int]
    lanes: dict[str, int]
    tracks: dict[str, int]
    text: int
    tops: tuple[int, ...]

    def event(self, row: int) -> int:
        return self.tops[row] + ABOVE


class Spot(NamedTuple):
    """Where a vCPU is: the context it is in, and why it does not execute in it, if so."""

    place: str
    waits: str

    @property
    def lane(self) -> str:
        return "L0" if self.waits else self.place


def layout(told: Sequence[Story]) -> Layout:
    """For stories of the same schedule and vCPU."""
    others = {name: EDGE + n * OTHER for n, name in enumerate(told[0].senders)}
    every = [one for story in told for one in story.moments]
    visited = {spot(one.after).place for one in every} | {"L2" for one in every if one.exits}
    places = ["L0", "L1", *(name for name in ("L2", "SMM") if name in visited)]
    first = EDGE + OTHER * len(others)
    lanes = {name: first + n * LANE for n, name in enumerate(places)}
    last = max(lanes.values())
    events = dict.fromkeys(event for story in told for event in story.pending)
    tracks = {name: last + APART + n * TRACK for n, name in enumerate(events)}
    text = max([last, *tracks.values()]) + TEXT
    heights = [
        max(height(lines(story.moments[row], WIDTH - text)) for story in told)
        for row in range(len(told[0].moments))
    ]
    tops = list(accumulate(heights, initial=HEAD))
    return Layout(others, lanes, tracks, text, tuple(tops))


def height(some: Sequence[tuple[str, str]]) -> int:
    return max(TALLEST, ABOVE + LINE * (len(some) - 1) + BELOW)


def lines(moment: Moment, width: int) -> list[tuple[str, str]]:
    """The lines of text beside a row, each with its kind."""
    some = [("parts", moment.parts), ("says", f"{moment.number}. {moment.says}")]
    some += [("note", note) for note in moment.notes]
    return [(kind, line) for kind, text in some if text for line in folded(text, kind, width)]


def folded(text: str, kind: str, width: int) -> Iterator[str]:
    """`text` in lines that fit `width`: cut between words, and inside those that are too long."""
    most = int(width / CHARACTER[kind])
    pieces = [
        piece
        for word in re.findall(r"\S+ ?", text)
        for piece in (PIECE.findall(word) if len(word) > most else [word])
    ]
    line = ""
    for piece in pieces:
        if line and len((line + piece).rstrip()) > most:
            yield line.rstrip()
            line = ""
        line += piece
    yield line


def spot(inside: Inside, spins: bool = False) -> Spot:
    return Spot(inside.place, "spins" if spins else inside.waits)


def diagram(story: Story, laid: Layout, name: str) -> Markup:
    """The SVG. name: makes its ids unique in a page."""
    bottom = laid.tops[-1] + 8
    title = f"{', '.join(story.variants)}: vCPU {story.about}"
    body = [
        *rows(story, laid),
        *heads(story, laid, bottom),
        *sent(story, laid),
        *pending(story, laid),
        *bars(story, laid),
        *texts(story, laid),
    ]
    return image("diagram", name, (WIDTH, bottom), title, story.in_words, body)


def rows(story: Story, laid: Layout) -> Iterator[Markup]:
    """A line between rows, and a band behind the one in which the variants part."""
    for row, (top, end) in enumerate(pairwise(laid.tops)):
        if story.moments[row].parts:
            yield rect("band", 0, top, WIDTH, end - top)
        yield line("rule", 0, top, WIDTH, top)


def heads(story: Story, laid: Layout, bottom: int) -> Iterator[Markup]:
    """The names of the lanes and tracks, and their lines."""
    for name, x in laid.others.items():
        yield words("head", x, 34, name, "middle")
        yield line("life", x, 42, x, bottom)
    first, last = min(laid.lanes.values()), max(laid.lanes.values())
    yield words("head", (first + last) // 2, 16, f"vCPU {story.about}", "middle")
    yield line("brace", first - 8, 21, last + 8, 21)
    for name, x in laid.lanes.items():
        yield words("head", x, 34, name, "middle")
        yield line("life", x, 42, x, bottom)
    if laid.tracks:
        xs = laid.tracks.values()
        yield words("head", (min(xs) + max(xs)) // 2, 16, "pending", "middle")
        yield line("brace", min(xs) - 9, 21, max(xs) + 9, 21)
    for name, x in laid.tracks.items():
        yield words("head", x, 34, SHORT.get(name, name), "middle")


SHORT: Final = {"interrupt": "INTR"}
"""Names of events that are too long for a track."""
TRACK_OF: Final = {"init": "INIT", "sipi": "SIPI", "nmi": "NMI", "smi": "SMI", "fixed": "interrupt"}
"""The track of a message, by its delivery mode."""


def sent(story: Story, laid: Layout) -> Iterator[Markup]:
    """An arrow for each message: to its track or, if it is not pending then, to KVM; one that lands
    inside a later step goes there."""
    for row, one in enumerate(story.moments):
        if not one.sends:
            continue
        x, y = laid.others[one.by], laid.event(row)
        yield dot("from", x, y)
        if one.lands is not None:
            later = laid.event(one.lands) - 9
            to = laid.lanes["L0"] - 4
            turn = x + 12
            yield path("message race", f"M{x} {y}H{turn}V{later}H{to}")
            yield head_of("message", to, later)
            continue
        track = TRACK_OF.get(one.sends, "")
        goes_on = track in one.after.pending
        to = laid.tracks[track] - BAR // 2 - 1 if goes_on else laid.lanes["L0"] - 4
        yield path("message", f"M{x} {y}H{to}")
        yield head_of("message", to, y)


def pending(story: Story, laid: Layout) -> Iterator[Markup]:
    """A bar for as long as an event is pending: a line closes it, or a point where it still is when
    the schedule ends."""
    for event, x in laid.tracks.items():
        since: int | None = None
        for row, one in enumerate(story.moments):
            there = event in one.after.pending
            if there and since is None:
                since = laid.event(row)
            if not there and since is not None:
                end = laid.event(row)
                yield rect(f"pending {event.lower()}", x - BAR // 2, since, BAR, end - since)
                yield line("closed", x - 8, end, x + 8, end)
                since = None
        if since is not None:
            end = laid.tops[-1]
            yield rect(f"pending {event.lower()}", x - BAR // 2, since, BAR, end - since)
            yield path(f"open {event.lower()}", f"M{x - 7} {end}h14l-7 8z")


def bars(story: Story, laid: Layout) -> Iterator[Markup]:
    """Where the vCPU executes, or does not; its moves; and a mark for each step that it takes."""
    since, now = HEAD - 6, Spot("L1", "")
    moves: list[Markup] = []
    for row, one in enumerate(story.moments):
        then = spot(one.after, one.spins)
        y = laid.event(row)
        if then != now:
            yield from stay(laid, now, since, y)
            moves += move(laid, now, then, y)
            since, now = y, then
        elif one.exits:
            moves += there_and_back(laid, y)
        if one.acted and not one.sends:
            moves += mark(one, laid, y)
    yield from stay(laid, now, since, laid.tops[-1] + 4)
    yield from moves


def stay(laid: Layout, at: Spot, since: int, until: int) -> Iterator[Markup]:
    """A bar in the lane; if KVM holds the vCPU, dashed, with its reason, and a thin one where the
    guest is meanwhile."""
    x = laid.lanes[at.lane]
    if not at.waits:
        yield rect("runs", x - BAR // 2, since, BAR, until - since)
        return
    yield line("context", laid.lanes[at.place], since, laid.lanes[at.place], until)
    yield rect("waits", x - BAR // 2, since, BAR, until - since)
    y = since + 24
    width = round(len(at.waits) * CHARACTER["tag"]) + 8
    yield rect("tag", x - width // 2, y - 8, width, 16)
    yield words("tag-text", x, y + 4, at.waits, "middle")


def move(laid: Layout, was: Spot, now: Spot, y: int) -> Iterator[Markup]:
    one, other = laid.lanes[was.lane], laid.lanes[now.lane]
    if one == other:
        return
    way = 1 if other > one else -1
    end = other - way * (BAR // 2 + 1)
    yield path("move", f"M{one} {y}H{end}")
    yield head_of("move", end, y, way)


def there_and_back(laid: Layout, y: int) -> Iterator[Markup]:
    """From L1 into L2, and out of it in the same step."""
    one, other = laid.lanes["L1"], laid.lanes["L2"]
    end = one + BAR // 2 + 1
    yield path("move", f"M{one} {y}H{other}V{y + 14}H{end}")
    yield head_of("move", end, y + 14, -1)


def mark(one: Moment, laid: Layout, y: int) -> Iterator[Markup]:
    """A ring for a step that was executed, a crossed one for one that was not, on the lane that the
    vCPU was in when the step began; a square in L0 for what the host does there."""
    x = laid.lanes[spot(one.before).lane]
    if one.by:
        yield rect("ioctl", laid.lanes["L0"] - 4, y - 4, 8, 8)
    elif one.executed:
        yield dot("did", x, y)
    else:
        yield dot("did-not", x, y)
        yield path("cross", f"M{x - 3} {y - 3}l6 6m0 -6l-6 6")


def texts(story: Story, laid: Layout) -> Iterator[Markup]:
    for row, one in enumerate(story.moments):
        y = laid.event(row) + 4
        for kind, text in lines(one, WIDTH - laid.text):
            yield words(kind, laid.text, y, text)
            y += LINE
