"""The covering set: which schedules to run on real KVM, where they cannot be picked by hand.

First novelty walks, which find most of what there is to find soonest, then tours, which leave
nothing of their kind out; docs/live.md has the figures. Both go along the model of `original`,
whatever is run; the first walks go on from what is known to tell variants apart. Making them takes
half a minute, so they are kept, by a hash of what decides them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

from fuzz.campaign import coverage
from fuzz.compare.compared import Compared, compared
from fuzz.explore import exhaustive
from fuzz.explore.certificate import code_hash
from fuzz.live import novelty, pairs, tours
from fuzz.live.pairs import Pair, pairs_in
from fuzz.memory.tables import Tables
from fuzz.schedule import alphabet, codes, order, schedule
from fuzz.schedule.alphabet import Alphabet, usual_alphabets
from fuzz.schedule.file import read_schedule, write_whole
from fuzz.schedule.schedule import Schedule, ScheduleError, races
from fuzz.schedule.seeds import golden_files
from variants import link, machine, variant
from variants.catalogue import built_in
from variants.machine.step import Vendor

BASE: Final = "original"
WALKS: Final[Mapping[Vendor, int]] = {"svm": 1000, "vmx": 500}
SEED: Final = 1
CODED: Final = ("walks", "tours")
MADE_OF: Final = (
    alphabet,
    codes,
    coverage,
    exhaustive,
    link,
    novelty,
    order,
    pairs,
    schedule,
    tours,
    variant,
)
"""The modules that decide, with the machine's, what the set is."""


class Covering(NamedTuple):
    """Schedules without races, the walks first, and how many pairs they take (`fuzz.live.pairs`).

    walked: by the walks. explored: all there are in what was explored, which all are taken. known:
    those of them that the walks take, and the tours leave out.
    """

    walks: tuple[Schedule, ...]
    tours: tuple[Schedule, ...]
    walked: int
    known: int
    explored: int

    @property
    def schedules(self) -> tuple[Schedule, ...]:
        return self.walks + self.tours


def made(
    subject: Compared,
    alphabets: tuple[Alphabet, ...],
    begun: Sequence[Schedule],
    walks: int,
    tick: Callable[[], None] = lambda: None,
) -> Covering:
    """The covering set of the first variant of `subject`. begun: what the first walks go on from.
    tick: called now and then."""
    walked = tuple(novelty.walks(subject, walks, SEED, begun))
    base = Tables(subject).compared.machines[0]
    met: set[Pair] = {pair for one in walked for pair in pairs_in(base, one)}
    toured, there = tours.tours(subject, alphabets, met, tick)
    return Covering(walked, tuple(toured), len(met), len(met & there), len(there))


def covering(vendor: Vendor, cache: Path, tick: Callable[[], None] = lambda: None) -> Covering:
    """The covering set for `vendor`, from the folder `cache` if it is there, else it is made and
    kept there. Raises OSError where that cannot be written."""
    begun = reproducers(vendor)
    path = cache / f"cover-{vendor}-{key(begun)}.json"
    if (kept := read(path)) is not None:
        return kept
    subject = compared(vendor, [built_in()[BASE]])
    new = made(subject, usual_alphabets(vendor, races=False), begun, WALKS[vendor], tick)
    write(path, new)
    return new


def reproducers(vendor: Vendor) -> list[Schedule]:
    """A shortest schedule for each signature of the certificate that needs no race. Raises OSError
    where there are none."""
    golden = [read_schedule(str(path)) for path in golden_files()]
    return [one for one in golden if one.vendor == vendor and not races(one)]


def key(begun: Sequence[Schedule]) -> str:
    """A hash of what decides what the covering set is: code, and what its walks go on from."""
    files = {Path(__file__), *(Path(str(module.__file__)) for module in MADE_OF)}
    files |= {*Path(machine.__file__).parent.glob("*.py"), *link.sources(built_in()[BASE])}
    decides = code_hash(files).encode() + b"".join(map(codes.encode, begun))
    return sha256(decides).hexdigest()[:16]


def write(path: Path, new: Covering) -> None:
    """Keep a covering set, whole or not at all. Raises OSError."""
    kept = new._asdict()
    for name in CODED:
        kept[name] = [codes.encode(one).hex() for one in kept[name]]
    write_whole(path, json.dumps(kept) + "\n")


def read(path: Path) -> Covering | None:
    """The covering set kept in `path`; None if there is none, or it is damaged."""
    try:
        kept: dict[str, Any] = json.loads(path.read_text())
        for name in CODED:
            kept[name] = tuple(codes.decode(bytes.fromhex(code)) for code in kept[name])
        return Covering(**kept)
    except (FileNotFoundError, ValueError, KeyError, TypeError, ScheduleError):
        return None
