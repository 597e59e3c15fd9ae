"""A schedule, and what it is expected to show, as a C program for the host's KVM."""

import textwrap
from collections.abc import Iterable, Mapping
from typing import Final

from fuzz.compare.traces import Trace
from fuzz.report.trace import short
from fuzz.schedule.schedule import Schedule, ScheduleError, races
from fuzz.schedule.text import step_json, step_yaml
from variants.live.observe import SVM_EXITS, VMX_EXITS
from variants.live.protocol import ACTIVITIES, HOST_STEPS, MP_STATES, encoded
from variants.live.single_file import single_file
from variants.machine.observation import Observation
from variants.machine.step import Step

MODES: Final = ("guest_mode", "vmxon", "smm")
"""What `short` leaves out, as where a vCPU stands mostly says it."""
WIDTH: Final = 96
"""Columns of the comment's text."""
HEAD: Final = """\
// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * {name}
{about} *
 * Runs these {count} steps on this host's KVM ({vendor}, {vcpus} vCPUs) and expects after each what
 * {expected} shows: see `points` below.
 *
 *   gcc -O2 -pthread -o reproducer reproducer.c && ./reproducer
 *
 * It needs /dev/kvm and nested virtualization. It prints TAP, as KVM's selftests do, and exits with
 * 0 (pass), 1 (fail) or 4 (skip). A WARN of the kernel shows only if /dev/kmsg can be read, and but
 * once a boot unless debugfs is mounted. Written by `eventdiff export`.
 */
"""
TABLES: Final = """\
#define VMX {vmx}
#define VCPUS {vcpus}
#define BUSY_US 200000 /* a vCPU that runs for so long without an exit or sleep is busy */

/* The schedule, and what is expected to be seen after each step. */
static const struct {{
	struct step step;
	const char *yaml, *expected;
}} points[] = {{
{points}
}};

/* Names of what is seen: {vendor}'s exits by number, activity states, KVM's mp_states. */
static const struct {{
	uint32_t number;
	const char *name;
}} exits[] = {{
{exits}
}};
static const char *const activities[] = {{ {activities} }};
static const char *const mp_states[] = {{
	{mp_states}
}};
"""


def words(observation: Observation) -> str:
    """All of an observation, in the words of reproducer/words.c."""
    modes = (name for name in MODES if getattr(observation, name))
    return " ".join([short(observation), *modes])


def reproducer(schedule: Schedule, expected: str, trace: Trace) -> str:
    """The program. expected: whose trace it is, in words.

    Raises ScheduleError for a schedule that cannot run on real KVM, or has no step to test.
    """
    if races(schedule):
        raise ScheduleError(f"{schedule.name}: a race (`at`): only models run it")
    if not schedule.steps:
        raise ScheduleError(f"{schedule.name}: no steps: there is nothing to test")
    about = [" *", *(f" * {line}" for line in textwrap.wrap(commented(schedule.about), WIDTH))]
    head = HEAD.format(
        name=commented(schedule.name),
        about="".join(f"{line}\n" for line in about),
        count=len(schedule.steps),
        vendor=schedule.vendor.upper(),
        vcpus=schedule.vcpus,
        expected=expected,
    )
    return single_file(head, tables(schedule, trace))


def tables(schedule: Schedule, trace: Trace) -> str:
    """What reproducer/ takes as given."""
    vmx = schedule.vendor == "vmx"
    points = zip(schedule.steps, trace, strict=True)
    return TABLES.format(
        vmx=int(vmx),
        vcpus=schedule.vcpus,
        points="\n".join(point(step, observation) for step, observation in points),
        vendor=schedule.vendor.upper(),
        exits=numbered(VMX_EXITS if vmx else SVM_EXITS),
        activities=listed(ACTIVITIES),
        mp_states=listed(MP_STATES),
    )


def point(step: Step, observation: Observation) -> str:
    """A test point: a step as agent/step.h has it, its YAML, and what it is expected to show."""
    op, on, to, *arguments = encoded(step_json(step))
    prefix = "OP" if op in HOST_STEPS else "CMD"
    fields = [f"{prefix}_{op.upper().replace('-', '_')}", f".on = {on}"]
    fields += [f".to = {to}"] if op == "icr" else []
    fields += [f".arg{n} = {value:#x}" for n, value in enumerate(arguments) if value]
    return (
        f'\t{{ {{ {", ".join(fields)} }},\n\t  "{step_yaml(step)}",\n\t  "{words(observation)}" }},'
    )


def numbered(names: Mapping[int, str]) -> str:
    return "\n".join(f'\t{{ {number:#x}, "{name}" }},' for number, name in names.items())


def listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def commented(text: str) -> str:
    """`text` within a comment of C."""
    return text.replace("*/", "* /").replace("/*", "/ *")
