"""A plain Atheris target for comparison: bytecode coverage, models stepped without memory.

Its coverage sees which lines of the models run, not which states they are in.
"""

import argparse
import sys
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["variants", "fuzz.joint"]):
    from fuzz.joint import initial_joint, joint_of, joint_step, latent

from fuzz.files import write_whole
from fuzz.mutator import MAX_STEPS, crossover, mutator
from fuzz.schedule_bytes import decode_step
from fuzz.target import Findings
from fuzz.variant_list import choose
from variants.machine.step import VENDORS


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.bytecode")
    parser.add_argument("--vendor", choices=VENDORS, required=True)
    parser.add_argument("--findings", type=Path, required=True)
    parser.add_argument("--empty", action="store_true", help="do nothing with the input")
    parser.add_argument("libfuzzer", nargs="*")
    options = parser.parse_args()
    joint = joint_of(options.vendor, choose("", []))
    findings = Findings(options.findings)
    count = options.findings / "0.count"
    every = 20000 if options.empty else 50
    began = time.monotonic()
    runs = 0

    def run(data: bytes) -> None:
        nonlocal runs
        runs += 1
        if runs % every == 0:
            write_whole(count, f"{runs} {time.monotonic() - began}")
        if options.empty:
            return
        findings.current = data
        state = initial_joint(joint, 2)
        for code in memoryview(data[: len(data) & ~1]).cast("H")[1:]:
            step = decode_step(code)
            if step is not None and state.groups:
                state, divergences = joint_step(joint, state, step)
                findings(divergences)
        findings(latent(joint, state))

    atheris.Setup(
        [sys.argv[0], f"-max_len={2 + 2 * MAX_STEPS}", *options.libfuzzer],
        run,
        custom_mutator=mutator(options.vendor, 2),
        custom_crossover=crossover,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
