"""Messages as no model needs them: with other vectors, to several vCPUs, from others, and twice.

What is explored and fuzzed on models has one vector a kind of message, and one receiver, as one
stands there for all (`fuzz.schedule.alphabet`). A change to a real kernel may care.
"""

from random import Random
from typing import Final

from fuzz.campaign.mutator import MAX_STEPS
from fuzz.campaign.palette import beginning, code_bytes, rest
from fuzz.schedule.codes import (
    FIXED_VECTORS,
    TARGETS,
    VECTORS,
    codes_of,
    decode_step,
    encode_step,
    vcpus_of,
)
from variants.machine.step import Step

VARIED: Final = 0.25
"""How often messages of an input are varied."""
MORE: Final = 0.5
"""How often another one then is, or the same once more."""


def varied(data: bytes, random: Random) -> bytes:
    """`data`, sometimes with messages sent otherwise, or twice."""
    if random.random() >= VARIED:
        return data
    while messages := messages_in(data):
        vcpus = vcpus_of(codes_of(data)[0])
        number, step = random.choice(messages)
        changes = (other_vector, other_target, other_sender, again)
        some = random.choice(changes)(step, vcpus, random)
        codes = b"".join(code_bytes(code) for one in some for code in encode_step(one))
        data = beginning(data, number) + codes + rest(data, number + 1)
        if random.random() >= MORE:
            break
    return beginning(data, MAX_STEPS)


def messages_in(data: bytes) -> list[tuple[int, Step]]:
    """The messages of an input, with their places."""
    steps = enumerate(map(decode_step, codes_of(data)[1:]))
    return [(number, step) for number, step in steps if step and step.op == "icr"]


def again(step: Step, _vcpus: int, _random: Random) -> tuple[Step, ...]:
    """As a BIOS does with SIPIs."""
    return step, step


def other_vector(step: Step, _: int, random: Random) -> tuple[Step, ...]:
    vectors = FIXED_VECTORS if step.mode == "fixed" else VECTORS
    return (step._replace(vector=random.choice(vectors)),)


def other_target(step: Step, vcpus: int, random: Random) -> tuple[Step, ...]:
    return (step._replace(to=random.choice([one for one in TARGETS if one < vcpus])),)


def other_sender(step: Step, vcpus: int, random: Random) -> tuple[Step, ...]:
    return (step._replace(on=random.randrange(vcpus)),)
