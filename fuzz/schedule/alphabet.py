"""The alphabet of an exploration: what can happen to a vCPU."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from fuzz.schedule.codes import FIXED_VECTORS, VECTORS, alphabet, decode_step
from fuzz.schedule.schedule import own_part
from variants.machine.points import POINTS
from variants.machine.step import MIN_VCPUS, Step, Vendor, ops_of
from variants.machine.vcpu import Irq

SIPI_VECTOR: Final = VECTORS[1]
"""Not the vector a vCPU starts with, so that a stale vector shows. Vectors are only ever copied
and compared, so one that differs from the initial one stands for all; see docs/explore.md."""
MESSAGES: Final = ("init", "sipi", "nmi", "smi", "fixed")
"""ICR modes that change the receiver. An INIT level de-assert changes nothing."""

FAMILIES: Final = {"interrupts": ("fixed", "sti", "cli"), "NMI": ("nmi",), "SMI": ("smi", "rsm")}
"""What the usual alphabet leaves out: words that matter together, and little to INIT and SIPI."""
UNRACED: Final = ("save-restore",)
"""Steps in which no message lands: before a VM is migrated its vCPUs are all stopped, and nobody is
left to send one."""
CONTROLLED: Final = {"init": "init", "nmi": "nmi", "smi": "smi", "intr": "fixed"}
"""What L1 intercepts by each control: without such events the control says nothing."""


class Alphabet(NamedTuple):
    """steps: what the vCPU does, as `own_part`s. messages: what reaches it. points: where in a
    step an armed message can land, none without races."""

    steps: tuple[Step, ...]
    messages: tuple[Irq, ...]
    points: tuple[str, ...]


def words_of(vendor: Vendor) -> tuple[str, ...]:
    """The words that choose steps: those of `Step.op`, and ICR modes for messages."""
    return tuple(dict.fromkeys((*(op for op in ops_of(vendor) if op != "icr"), *MESSAGES)))


def usual_words(vendor: Vendor, family: str = "") -> tuple[str, ...]:
    """INIT and SIPI, every instruction and ioctl, and of SMI, NMI and interrupts only `family`."""
    left_out = {word for name, some in FAMILIES.items() if name != family for word in some}
    return tuple(word for word in words_of(vendor) if word not in left_out)


def usual_alphabets(vendor: Vendor, races: bool) -> tuple[Alphabet, ...]:
    """What is explored, and fuzzed, unless told otherwise: the usual steps, alone, with each family
    and with races. All together the states have no end in sight."""
    families = ("", *FAMILIES)
    calm = [alphabet_of(vendor, usual_words(vendor, name), races=False) for name in families]
    return (*calm, alphabet_of(vendor, usual_words(vendor), races=True)) if races else tuple(calm)


def families_of(step: Step) -> frozenset[str]:
    """The families that `step` belongs to; none for a usual one."""
    words = {step.mode if step.op == "icr" else step.op, *map(CONTROLLED.get, step.controls)}
    return frozenset(name for name, some in FAMILIES.items() if words & set(some))


def alphabet_of(vendor: Vendor, words: Sequence[str], races: bool) -> Alphabet:
    """The alphabet of the steps and ICR modes in `words`.

    Of steps that come to the same one stands for all: a host's `nmi` or `smi` is the message of
    that name, and sending to others changes nothing in the sender that `nop` does not.
    """
    own = set()
    for code in alphabet(vendor, MIN_VCPUS):
        step = decode_step(code)
        assert step is not None
        part = own_part(step)
        if part.op == "icr":
            chosen = part.mode in words and part.vector == vector_of(part.mode)
        else:
            chosen = part.op in words and part.op not in MESSAGES
        if chosen and all(CONTROLLED[control] in words for control in part.controls):
            own.add(part)
    messages = tuple(Irq(mode, vector_of(mode)) for mode in MESSAGES if mode in words)
    return Alphabet(tuple(sorted(own)), messages, tuple(POINTS) if races else ())


def vector_of(mode: str) -> int:
    """The vector that stands for all in messages of `mode`."""
    return {"sipi": SIPI_VECTOR, "fixed": FIXED_VECTORS[0]}.get(mode, 0)
