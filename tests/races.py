"""A race, and what a step of it may have shown, for tests."""

from variants.machine.observation import Observation

SHOWN = Observation(
    on=1,
    outcome="l1",
    executed=True,
    vector=None,
    nested_exit=None,
    guest_mode=False,
    gif=True,
    vmxon=None,
    smm=False,
    latched_init=None,
    mp_state=None,
    taken=(),
    woke=False,
    warn=None,
)
RACE = """\
format: 1
name: race
vendor: svm
vcpus: 2
steps:
- icr: {from: 0, to: 1, mode: init, at: {block: 12}}
- nop: {on: 1}
"""
STARTED = RACE.replace("- nop", "- icr: {from: 0, to: 1, mode: sipi, at: {block: 12}}\n- nop")
"""INIT and SIPI that land together."""
