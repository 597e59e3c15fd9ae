"""Messages as no model needs them: with other vectors, to several vCPUs at once, from others.

What is explored and fuzzed on models has one vector a kind of message, and one receiver, as one
stands there for all (`fuzz.schedule.alphabet`). A change to a real kernel may care.
"""

from random import Random
from typing import Final

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

VARIED: Final = 0.2
"""How often one message of an input is varied."""


def varied(data: bytes, random: Random) -> bytes:
    """`data`, sometimes with one of its messages sent otherwise."""
    if random.random() >= VARIED:
        return data
    messages = [
        (number, step)
        for number, code in enumerate(codes_of(data)[1:])
        if (step := decode_step(code)) and step.op == "icr"
    ]
    if not messages:
        return data
    number, step = random.choice(messages)
    vcpus = vcpus_of(codes_of(data)[0])
    other = random.choice((other_vector, other_target, other_sender))(step, vcpus, random)
    (code,) = encode_step(other)
    return beginning(data, number) + code_bytes(code) + rest(data, number + 1)


def other_vector(step: Step, _: int, random: Random) -> Step:
    return step._replace(vector=random.choice(FIXED_VECTORS if step.mode == "fixed" else VECTORS))


def other_target(step: Step, vcpus: int, random: Random) -> Step:
    return step._replace(to=random.choice([one for one in TARGETS if one < vcpus]))


def other_sender(step: Step, vcpus: int, random: Random) -> Step:
    return step._replace(on=random.randrange(vcpus))
