"""The yardstick: a search that keeps whole states and remembers no step."""

from collections import deque
from collections.abc import Iterator

from fuzz.compare.compared import Compared
from fuzz.compare.joint import receive, start, take
from fuzz.schedule.alphabet import Alphabet


def plain_search(subject: Compared, alphabet: Alphabet) -> Iterator[tuple[int, int]]:
    """Search from an AP's start, without races: after each state it leaves, how many states it
    has reached and transitions it has taken."""
    everyone = tuple(range(len(subject.names)))
    frontier = deque([start(subject, bsp=False)])
    seen = set(frontier)
    transitions = 0
    while frontier:
        vcpu = frontier.popleft()
        after = [take(subject, vcpu, step).after for step in alphabet.steps]
        after += [receive(subject, vcpu, everyone, "", irq) for irq in alphabet.messages]
        transitions += len(after)
        for new in after:
            if new.groups and new not in seen:
                seen.add(new)
                frontier.append(new)
        yield len(seen), transitions
