"""How often does a vCPU not start that is sent INIT, and INIT and SIPI while KVM takes the first?

On kernels as they are, nothing is instrumented: one thread runs the vCPU and another, on another
processor, sends (docs/found/started-twice.c). SVM, in a QEMU with two processors.

    python -m bench.started_twice --variants original,linux-7.3
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.programs import BootError, Ended, gcc, run_on
from variants.live.cache import cache_folder

PROGRAM: Final = Path(__file__).parent.parent / "docs" / "found" / "started-twice.c"
BOOTS: Final = 4
"""QEMU's translator, with two processors, now and then ends a kernel that patches its own code."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--variants", default="original", help="that are set up (original)")
    parser.add_argument("--trials", type=int, default=1000)
    options = parser.parse_args()
    for name in options.variants.split(","):
        print(f"{name}: {'; '.join(run(name, options.trials).lines[1:])}", flush=True)


def run(name: str, trials: int, boots: int = BOOTS) -> Ended:
    """The program on a variant. Raises BootError if it does not end in so many boots."""
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        program = gcc(folder / "program", f"-DTRIALS={trials}", PROGRAM)
        try:
            (ended,) = run_on(cache_folder(), folder, name, "svm", [program], processors=2)
        except BootError:
            if boots == 1:
                raise
            return run(name, trials, boots - 1)
        return ended


if __name__ == "__main__":
    main()
