"""What the agent reads and prints: schedules as lines of numbers, steps as `key=value` lines.

The agent's side is `agent/main.c` (input, framing) and `agent/schedule.c` (the R lines).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from variants.live.layout import Layout, Place, hits, place

Schedule = Mapping[str, Any]
"""A schedule as the plain data of its YAML (format 1)."""
Raw = dict[str, str]

GUEST_STEPS: Final = (
    *("nop", "hlt", "sti", "cli", "icr", "vmxon", "vmxoff", "vmlaunch", "vmcall", "rdmsr"),
    *("clgi", "stgi", "vmrun", "vmmcall", "rsm"),
)
HOST_STEPS: Final = (
    *("smi", "nmi", "get-mp-state", "set-mp-state", "get-vcpu-events", "save-restore"),
)
COMMANDS: Final = {name: number for number, name in enumerate(GUEST_STEPS)} | {
    name: number for number, name in enumerate(HOST_STEPS, 32)
}
DELIVERY: Final = {
    "fixed": 0x4000,
    "smi": 0x4200,
    "nmi": 0x4400,
    "init": 0x4500,
    "init-deassert": 0x8500,
    "sipi": 0x4600,
}
SHORTHAND: Final = {"self": (-1, 1 << 18), "all": (-2, 2 << 18), "others": (-3, 3 << 18)}
MP_STATES: Final = ("RUNNABLE", "UNINITIALIZED", "INIT_RECEIVED", "HALTED", "SIPI_RECEIVED")
ACTIVITIES: Final = ("active", "hlt", "shutdown", "wait-for-sipi")
INTERCEPTS: Final = {"intr": 1, "nmi": 2, "smi": 4, "init": 8}
EXITING: Final = {"intr": 1, "nmi": 8}
PIN_BASED_ALWAYS: Final = 0x16
NOT_INSIDE: Final = 0
COVERAGE: Final = 1
LANDED: Final = 2
PASSED: Final = 4
"""What of an instrumented KVM to tell, as bits: the blocks that a schedule reaches; where messages
landed in a step; the blocks of a step in which one may have, in order."""
USUAL: Final[Mapping[str, str]] = {
    **dict.fromkeys(("ran", "dead", "port", "executed", "woke", "boot", "smm", "flags"), "0"),
    **dict.fromkeys(("mp", "latched"), "-1"),
    "vmxon": "0",
    "warn": "-",
    "taken": "",
}
"""What an R line leaves out."""


class Refused(Exception):
    """A schedule that cannot run live, and why."""


Landing = Callable[[Any], str]
"""Where `at` of an `icr` is in KVM's code, as the agent reads it (`parse_at` in agent/main.c)."""


def nowhere(at: object) -> NoReturn:
    """The `Landing` of a KVM without callbacks."""
    raise Refused("a race, and the build is not instrumented")


@dataclass
class Ended:
    """What the agent printed about one schedule.

    word is ok, died or hung; "" if it is missing. reached: the blocks of an instrumented KVM, if
    they were asked for; layout: where that KVM was.
    """

    lines: list[Raw] = field(default_factory=list)
    word: str = ""
    milliseconds: int = 0
    reached: frozenset[Place] = frozenset()
    layout: Layout = ()


def encode(
    number: int,
    schedule: Schedule,
    *,
    aloud: bool = False,
    fresh: bool = False,
    inside: int = NOT_INSIDE,
    landing: Landing = nowhere,
) -> str:
    """The agent's input for one schedule.

    aloud: print each step as soon as it is done. fresh: run it in a VM of its own. inside: what
    of an instrumented KVM to tell. Raises Refused.
    """
    refuse_within_migration(schedule["steps"])
    steps = [encode_step(step, landing) for step in schedule["steps"]]
    vmx = int(schedule["vendor"] == "vmx")
    head = f"S {number} {vmx} {schedule['vcpus']} {len(steps)} {aloud:d} {fresh:d} {inside}"
    return "\n".join([head, *steps]) + "\n"


def refuse_within_migration(steps: Iterable[Mapping[str, Mapping[str, Any]]]) -> None:
    """Raise Refused for a message to a preemption point of `save-restore`: the agent has messages
    land at the end of that."""
    waits = False
    for step in steps:
        if waits and "save-restore" in step:
            raise Refused("within save-restore a message lands at the end")
        waits = isinstance(step.get("icr", {}).get("at"), str)


def encode_step(step: Mapping[str, Mapping[str, Any]], landing: Landing) -> str:
    ((op, args),) = step.items()
    at = landing(args["at"]) if args.get("at") else "-"
    return " ".join(map(str, (COMMANDS[op], *encoded(step)[1:], at)))


def encoded(step: Mapping[str, Mapping[str, Any]]) -> tuple[str, int, int, int, int]:
    """A step's word, and its `on`, `to`, `arg0` and `arg1` of agent/step.h."""
    ((op, args),) = step.items()
    on, to, arg0, arg1 = args.get("on", 0), 0, 0, 0
    match op:
        case "icr":
            on = args["from"]
            arg0 = DELIVERY[args["mode"]] | int(args.get("vector") or 0)
            to = args["to"]
            if to in SHORTHAND:
                to, bits = SHORTHAND[to]
                arg0 |= bits
        case "smi" | "nmi":
            on = args["to"]
        case "set-mp-state":
            arg0 = MP_STATES.index(str(args["state"]).upper().replace("-", "_"))
        case "vmrun":
            arg0 = sum(INTERCEPTS[name] for name in args.get("intercept", ()))
        case "vmlaunch":
            arg0 = ACTIVITIES.index(args.get("activity", "active"))
            arg1 = PIN_BASED_ALWAYS | sum(EXITING[name] for name in args.get("exiting", ()))
    return op, on, to, arg0, arg1


def decode(text: str) -> tuple[dict[int, Ended], int | None, bool]:
    """What an emulator printed: results by schedule number, the one under way, and whether done.

    A last line without its end is none. A schedule that begins again starts from nothing.
    """
    ended: dict[int, Ended] = {}
    current: int | None = None
    done = False
    layout: Layout = ()
    blocks: list[Place] = []
    for line in text.replace("\r", "").split("\n")[:-1]:
        word, _, rest = line.partition(" ")
        if word == "B" and rest.isdigit():
            current = int(rest)
            ended[current] = Ended(layout=layout)
        elif word == "R" and current is not None:
            ended[current].lines.append(raw(rest))
        elif word == "M":
            module, section, base = rest.split()
            layout = (*layout, (int(base, 16), module, section))
        elif word == "C" and current is not None:
            found, hit = rest.split(" ")
            blocks += [place(layout, int(pc, 16)) for pc in found.split(",") if pc]
            ended[current].reached = frozenset(blocks[number] for number in hits(hit))
        elif word == "E" and current is not None:
            _, end, milliseconds = rest.split()
            ended[current].word, ended[current].milliseconds = end, int(milliseconds)
            current = None
        elif word == "D":
            done = True
    return ended, current, done


def raw(rest: str) -> Raw:
    """One step, from an R line without its R."""
    return {**USUAL, **dict(part.partition("=")[::2] for part in rest.split())}


def complaints(text: str) -> Iterable[str]:
    """Lines in which the agent says what is wrong."""
    return [line[2:] for line in text.splitlines() if line.startswith("X ")] + [
        line for line in text.splitlines() if line.startswith("agent: ")
    ]
