"""The search on real KVM, for one vendor: what is run, and what becomes of it.

Each schedule either shows no difference, or one that a finding explains, or it is minimised to a
finding. A difference hides what would come after it, so a schedule that shows one is run again
without what triggers it, until it goes through or there is nothing left of it.
"""

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Final

from fuzz.compare.compared import compared
from fuzz.compare.traces import Trace, Traces, trace_of
from fuzz.live.cover import BASE
from fuzz.live.pairs import Pair, pairs_in
from fuzz.memory.tables import Tables
from fuzz.review.findings import Found, Unexplained, Way, merged, shown_in
from fuzz.review.journal import Journal
from fuzz.review.marks import Mark, marks
from fuzz.review.mutations import Context, contexts, mutations
from fuzz.review.shrinking import Target, fine, minimised, rough, up_to
from fuzz.review.triggers import Trigger, around, trigger_of
from fuzz.schedule.order import size
from fuzz.schedule.schedule import Schedule
from variants.catalogue import built_in
from variants.machine.step import Step, Vendor

CHUNKS: Final = {"svm": (100, 300), "vmx": (60, 180)}
"""Schedules that are run at a time: few at first, to know what to go around."""
AGAIN: Final = 3
"""How often a schedule is run again without what it showed: once at once, and again after the
covering set, with the mutations."""
WORTH: Final = 8
"""Steps that are not compared, after which it is run again."""
SHORTEST: Final = 3
"""Steps of a schedule that is still worth running again."""
AT_ONCE: Final = 16
"""Differences that are minimised at a time."""
MUTATIONS: Final = {"svm": 300, "vmx": 150}
FRUITLESS: Final = 3
"""Rounds of mutations that show no new difference, after which the search ends: contexts are too
many for that."""
REPEATS: Final = 3
SEED: Final = 1


class Hunt:
    """A search for what live variants do differently.

    proposing: asked before anything new is proposed; explaining: before what was found is made
    smaller. found: in the order in which it was found. schedules: how many of the proposals were
    run. compared: the pairs (`fuzz.live.pairs`) that they took on `original`'s model before they
    parted. parted: how many did.
    """

    def __init__(
        self,
        vendor: Vendor,
        journal: Journal,
        proposing: Callable[[], bool],
        explaining: Callable[[], bool],
    ) -> None:
        self.vendor = vendor
        self.journal = journal
        self.proposing = proposing
        self.explaining = explaining
        self.random = Random(SEED)
        self.machine = Tables(compared(vendor, [built_in()[BASE]])).compared.machines[0]
        self.found: list[Found] = []
        self.unexplained: list[Unexplained] = []
        self.compared: set[Pair] = set()
        self.contexts: set[Context] = set()
        self.pool: list[Schedule] = []
        self.again: list[tuple[Schedule, int]] = []
        self.later: list[tuple[Schedule, int]] = []
        self.ran: dict[tuple[int, tuple[Step, ...]], Schedule] = {}
        self.schedules = 0
        self.parted = 0

    def cover(self, schedules: Sequence[Schedule]) -> Iterator[int]:
        """Run a part of the covering set; yields after each chunk how many of it are done."""
        sizes = iter(CHUNKS[self.vendor])
        done, chunk = 0, next(sizes)
        while (done < len(schedules) or self.again) and self.proposing():
            self.look_at(schedules[done : done + chunk])
            done = min(done + chunk, len(schedules))
            chunk = next(sizes, chunk)
            yield done

    def search(self) -> Iterator[int]:
        """Mutate what showed something new, and go around what is known once more, until no
        difference comes; yields after each round how many contexts are known."""
        fruitless = 0
        most = MUTATIONS[self.vendor]
        while self.pool and fruitless < FRUITLESS and self.proposing():
            known = len(self.found)
            again, self.later = self.later[: most // 2], self.later[most // 2 :]
            fresh = mutations(self.pool, most - len(again), self.random)
            self.again += again
            self.look_at(fresh)
            fruitless = fruitless + 1 if len(self.found) == known else 0
            yield len(self.contexts)

    def steered(self, schedule: Schedule) -> Schedule:
        """`schedule` around what is known, as `original`'s model would have it."""
        triggers = self.triggers
        if not triggers:
            return schedule
        return around(schedule, trace_of(self.machine, schedule), triggers, self.random)

    @property
    def triggers(self) -> list[Trigger]:
        return [way.trigger for found in self.found for way in found.ways]

    def look_at(self, proposed: Sequence[Schedule]) -> None:
        """Run schedules, and those that showed something before again around that; explain."""
        todo = [(one, turn) for one, turn in self.again if self.is_new(one)]
        todo += [(one, 0) for one in map(self.steered, proposed) if self.is_new(one)]
        self.again = []
        if not todo:
            return
        shown = self.journal.run([one for one, _ in todo])
        parted = [
            (one, turn, traces, self.take_in(one, traces))
            for (one, turn), traces in zip(todo, shown, strict=True)
        ]
        self.explain()
        triggers = self.triggers
        for one, turn, traces, at in parted:
            if not traces:
                self.ran.pop(as_key(one), None)
                self.again.append((self.steered(one), turn))
            elif at and turn < AGAIN and len(one.steps) - at[0] > WORTH:
                other = around(one, first_of(traces), triggers, self.random, at)
                (self.later if turn else self.again).append((other, turn + 1))

    def is_new(self, schedule: Schedule) -> bool:
        """Is it worth running, and was not run yet? Says so once."""
        key = as_key(schedule)
        new = len(schedule.steps) >= SHORTEST and key not in self.ran
        self.ran.setdefault(key, schedule)
        return new

    def take_in(self, schedule: Schedule, traces: Traces) -> list[int]:
        """Note what a schedule showed; returns the steps at which its variants parted."""
        if not traces:
            return []
        self.schedules += 1
        places = marks(schedule, traces)
        trace = first_of(traces)
        alike = places[0][0] if places else len(trace)
        self.compared.update(
            pairs_in(self.machine, schedule._replace(steps=schedule.steps[:alike]))
        )
        new = set(contexts(schedule, trace[:alike])) - self.contexts
        if new:
            self.contexts |= new
            self.pool.append(schedule)
        for at, mark in places:
            shown = Unexplained(schedule, at, mark, traces[mark.groups[0][0]][: at + 1])
            if not self.explained(shown):
                self.unexplained.append(shown)
        self.parted += bool(places)
        return [at for at, _ in places]

    def explained(self, shown: Unexplained) -> bool:
        """Does a finding say why? Then it counts that."""
        return any(found.takes(shown) for found in self.found)

    def explain(self) -> None:
        """Minimise what no finding explains, until one does."""
        while self.unexplained and self.explaining():
            chosen = representatives(self.unexplained, self.found)
            targets = [shown.target for shown in chosen]
            made = minimised(targets, self.journal.run, rough, self.explaining)
            if not self.explaining():
                return
            for shown, (target, _) in zip(chosen, made, strict=True):
                self.add(shown, target.schedule)
            self.unexplained = [one for one in self.unexplained if not self.explained(one)]

    def add(self, shown: Unexplained, schedule: Schedule) -> None:
        """A finding, or one more way to one that is known."""
        plain = schedule._replace(name="", about="")
        (traces,) = self.journal.run([plain])
        trigger = trigger_of(plain, traces[shown.mark.groups[0][0]], len(plain.steps) - 1)
        key = shown.mark, shown_in(plain)
        found = next((one for one in self.found if (one.mark, one.op) == key), None)
        if found is None:
            found = Found(*key)
            self.found.append(found)
        way = next((one for one in found.ways if one.trigger.items == trigger.items), None)
        if way is None:
            way = Way(plain, trigger, traces)
            found.ways.append(way)
        # The vCPU may stand elsewhere; and where steps were taken for others, it is met as it was.
        as_it_was = trigger_of(shown.schedule, shown.trace, shown.step)
        for met in (trigger._replace(standing=shown.standing), as_it_was):
            if not way.explained(shown):
                way.met.append(met)

    def finish(self) -> None:
        """Make the ways that are told 1-minimal, and see each three times in fresh VMs.

        What becomes the same is put together, and others are then told.
        """
        while ways := [
            (found.mark, way) for found in self.found for way in found.told if not way.repeats[1]
        ]:
            self.make_sure(ways)
            self.found = merged(self.found)

    def make_sure(self, ways: Sequence[tuple[Mark, Way]]) -> None:
        targets = [Target(way.schedule, mark) for mark, way in ways]
        made = minimised(targets, self.journal.run, fine, self.explaining)
        for (_, way), (target, minimal) in zip(ways, made, strict=True):
            way.schedule, way.minimal = target.schedule, minimal
        for turn in range(1, REPEATS + 1):
            shown = self.all_run([way.schedule for _, way in ways], turn)
            for (mark, way), traces in zip(ways, shown, strict=True):
                times, of = way.repeats
                way.traces = traces
                way.repeats = times + (up_to(way.schedule, traces, mark) is not None), of + 1

    def all_run(self, schedules: Sequence[Schedule], turn: int) -> list[Traces]:
        """What they show, those too that could not be run because another ended the kernel."""
        shown = self.journal.run(schedules, turn)
        while left := [one for one, traces in zip(schedules, shown, strict=True) if not traces]:
            self.journal.run(left, turn)
            shown = self.journal.run(schedules, turn)
        return shown


def as_key(schedule: Schedule) -> tuple[int, tuple[Step, ...]]:
    """A schedule by what it does."""
    return schedule.vcpus, schedule.steps


def first_of(traces: Traces) -> Trace:
    """The base's."""
    return next(iter(traces.values()))


def representatives(shown: Sequence[Unexplained], found: Sequence[Found]) -> list[Unexplained]:
    """What to minimise next: of a mark that is new the smallest schedule, of one that is known the
    smallest for each standing and last step."""
    known = {one.mark for one in found}
    best: dict[object, Unexplained] = {}
    for one in sorted(shown, key=lambda one: (one.step, size(one.schedule))):
        key = (one.mark, one.standing, one.item[:3]) if one.mark in known else one.mark
        best.setdefault(key, one)
    return list(best.values())[:AT_ONCE]
