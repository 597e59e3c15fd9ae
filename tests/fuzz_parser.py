"""Fuzz the schedule parsers themselves: nothing but ScheduleError may come out of them.

python -m tests.fuzz_parser -max_total_time=60
"""

import sys
from collections.abc import Callable
from typing import TypeVar

import atheris

with atheris.instrument_imports(include=["fuzz"]):
    from fuzz.schedule import codes as as_codes
    from fuzz.schedule import text as as_text
    from fuzz.schedule.schedule import Schedule, ScheduleError

T = TypeVar("T")
TOKENS = (
    *("format: 1\n", "vendor: svm\n", "vendor: vmx\n", "vcpus: 2\n", "steps:\n"),
    *("- nop: {on: 1}\n", "- icr: {from: 0, to: 1, mode: sipi, vector: 0x12}\n"),
    *("- vmrun: {on: 1, intercept: [init]}\n", "name: &a x\n", "about: *a\n", "steps: ["),
    *("]", "{", "}", "? ", "!!int ", "0x", "on", "- "),
)


def parse(data: bytes) -> None:
    """As bytes, as text, and as text made of a schedule's own words."""
    provider = atheris.FuzzedDataProvider(data)
    made = "".join(
        TOKENS[provider.ConsumeIntInRange(0, len(TOKENS) - 1)]
        if provider.ConsumeBool()
        else provider.ConsumeUnicodeNoSurrogates(4)
        for _ in range(provider.ConsumeIntInRange(0, 12))
    )
    for text in (made, data.decode("utf-8", "replace")):
        expect_schedule_or_error(as_text.load, text)
    expect_schedule_or_error(as_codes.decode, data)


def expect_schedule_or_error(read: Callable[[T], Schedule], source: T) -> None:
    try:
        schedule = read(source)
    except ScheduleError as error:
        if "\n" in str(error):
            raise AssertionError(f"not one line: {error}") from error
        return
    if as_text.load(as_text.dump(schedule), schedule.name) != schedule:
        raise AssertionError("YAML round trip")
    if as_codes.decode(as_codes.encode(schedule)) != schedule:
        raise AssertionError("bytes round trip")


if __name__ == "__main__":
    atheris.Setup(sys.argv, parse)
    atheris.Fuzz()
