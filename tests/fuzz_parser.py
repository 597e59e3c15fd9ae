"""Fuzz the schedule parsers themselves: nothing but ScheduleError may come out of them.

make fuzz-parser TIME=60
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar
from unicodedata import category

import atheris

with atheris.instrument_imports(include=["fuzz"]):
    from fuzz.schedule import codes as as_codes
    from fuzz.schedule import text as as_text
    from fuzz.schedule.file import is_yaml, schedule_in
    from fuzz.schedule.schedule import Schedule, ScheduleError

T = TypeVar("T")
PATH: Final = "a\n\x1b\udcff"
SEEDS: Final = Path(__file__).parent.parent / "corpus" / "seeds"
TOKENS: Final = (
    *("format: 1\n", "vendor: svm\n", "vendor: vmx\n", "vcpus: 2\n", "steps:\n"),
    *("- nop: {on: 1}\n", "- icr: {from: 0, to: 1, mode: sipi, vector: 0x12}\n"),
    *("- vmrun: {on: 1, intercept: [init]}\n", "name: &a x\n", "about: *a\n", "steps: ["),
    *("]", "{", "}", "? ", "!!int ", "0x", "on", "- ", "name: ", "about: >\n ", "\n", '"'),
    *("\\U", "\\ud8", "\\x1b", "FFFFFFFF", "9" * 5000, "f" * 4000, "%YAML ", "%TAG ! ", "--- "),
    *("\x1b", "\u2028", "\x85", "\ufeff", "\U0001f600"),
)
SLOTS: Final = (
    *("format: {}\nvendor: svm\nvcpus: 2\nsteps: []\n", "{}: 1\nformat: 1\n"),
    "format: 1\nname: {}\nvendor: svm\nvcpus: 2\nsteps: []\n",
    'format: 1\nname: "{}"\nvendor: svm\nvcpus: 2\nsteps: []\n',
    "format: 1\nabout: {}\nvendor: svm\nvcpus: 2\nsteps:\n- hlt: {{on: 1}}\n",
    "format: 1\nabout: |\n  {}\nvendor: svm\nvcpus: 2\nsteps:\n- hlt: {{on: 1}}\n",
    "format: 1\nvendor: {}\nvcpus: 2\nsteps: []\n",
    "format: 1\nvendor: svm\nvcpus: {}\nsteps: []\n",
    "format: 1\nvendor: svm\nvcpus: 2\nsteps: {}\n",
    "format: 1\nvendor: svm\nvcpus: 2\nsteps:\n- {}: {{on: 1}}\n",
    "format: 1\nvendor: vmx\nvcpus: 2\nsteps:\n- vmlaunch: {{on: 1, exiting: {}}}\n",
    "format: 1\nvendor: svm\nvcpus: 2\nsteps:\n- icr: {{from: 0, to: {}, mode: init}}\n",
    "format: 1\nvendor: svm\nvcpus: 2\nsteps:\n- icr: {{from: 0, to: 1, mode: sipi, vector: {}}}\n",
)
"""Schedules with one place left open."""


def parse(data: bytes) -> None:
    """As a file, as bytes and as text as it is; then in a place, or of a schedule's own words."""
    expect_schedule_or_error(lambda some: schedule_in(some, PATH), data)
    expect_schedule_or_error(as_codes.decode, data)
    provider = atheris.FuzzedDataProvider(data)
    slot = provider.PickValueInList([*SLOTS, "{}"])
    made = "".join(
        provider.PickValueInList([*TOKENS])
        if provider.ConsumeBool()
        else provider.ConsumeUnicode(4)
        for _ in range(provider.ConsumeIntInRange(0, 12))
    )
    expect_schedule_or_error(as_text.load, slot.format(made))
    expect_schedule_or_error(as_text.load, slot.format(data[:200].decode("utf-8", "replace")))


def expect_schedule_or_error(read: Callable[[T], Schedule], source: T) -> None:
    try:
        schedule = read(source)
    except ScheduleError as error:
        problem = str(error).removeprefix(PATH)
        if not problem.isprintable() or len(problem) > 500:
            raise AssertionError(f"not one line: {problem!r}") from error
        return
    if {"Cc", "Cf", "Cs", "Zl", "Zp"} & set(map(category, schedule.name + schedule.about)):
        raise AssertionError(f"not one line of text: {schedule.name!r}, {schedule.about!r}")
    text, codes = as_text.dump(schedule).encode(), as_codes.encode(schedule)
    if as_text.load(text.decode()) != schedule:
        raise AssertionError("YAML round trip")
    if as_codes.decode(codes) != schedule:
        raise AssertionError("bytes round trip")
    if not is_yaml(text, "") or is_yaml(codes, ""):
        raise AssertionError("YAML and bytes are mixed up")


if __name__ == "__main__":
    seeds = "-seed_inputs=" + ",".join(map(str, SEEDS.glob("*.yaml")))
    atheris.Setup([*sys.argv, seeds], parse)
    atheris.Fuzz()
