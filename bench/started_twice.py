"""How often does a vCPU not start that is sent INIT, and INIT and SIPI while KVM takes the first?

On kernels as they are, nothing is instrumented: one thread runs the vCPU and another, on another
processor, sends (docs/found/started-twice.c). SVM, in a QEMU with two processors.

    python -m bench.started_twice --variants original,linux-7.3
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.programs import gcc, run_on
from variants.live.cache import cache_folder

PROGRAM: Final = Path(__file__).parent.parent / "docs" / "found" / "started-twice.c"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--variants", default="original", help="that are set up (original)")
    parser.add_argument("--trials", type=int, default=1000)
    options = parser.parse_args()
    cache = cache_folder(None)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        program = gcc(folder / "program", f"-DTRIALS={options.trials}", PROGRAM)
        for name in options.variants.split(","):
            (ended,) = run_on(cache, folder, name, "svm", [program], processors=2)
            print(f"{name}: {'; '.join(ended.lines[1:])}", flush=True)


if __name__ == "__main__":
    main()
