"""Fuzzer processes: started, watched, ended."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from fuzz.campaign.folder import CORPUS, LOG, WORK, begin_anew
from fuzz.compare.watch import ASK
from variants.machine.step import Vendor

GRACE: Final = 10
"""Seconds after its time in which a process has to start and to end."""
MAX_SEED: Final = 2**32 - 1
"""The greatest that libFuzzer takes."""


class Fuzzer(NamedTuple):
    """A fuzzer process, and what it says. progress: where it notes now and then how far it is."""

    process: "subprocess.Popen[bytes]"
    log: Path
    progress: Path
    vendor: Vendor


MODELS: Final = "fuzz.campaign.target"
"""The module of the processes that fuzz models."""


class Task(NamedTuple):
    """What a process is to do. name: what names of its files begin with. options: those that choose
    variants and what is fuzzed. seconds: 0 until it is stopped. seed: 0 lets libFuzzer choose.
    module: what it runs."""

    vendor: Vendor
    name: str
    options: tuple[str, ...]
    seconds: int
    seed: int
    module: str = MODELS


def environment() -> dict[str, str]:
    """The environment of a Python process that imports what this one imports."""
    imports = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    return {**os.environ, "PYTHONPATH": imports, "PYTHONHASHSEED": "0"}


def start(task: Task, folder: Path) -> Fuzzer:
    """Start a process of the campaign in `folder`. It ends with this one. Raises OSError."""
    work = folder.resolve() / WORK
    command = [sys.executable, "-m", task.module, "--vendor", task.vendor]
    command += [*task.options, "--findings", str(work), "--name", task.name]
    command += ["--parent", str(os.getpid()), "--seconds", str(task.seconds)]
    command += [
        "--",
        "-rss_limit_mb=0",
        f"-seed={task.seed}",
        str(work.parent / CORPUS / task.vendor),
    ]
    # The same few logs in each session, the last one's kept.
    path = folder / LOG / f"{task.name.partition('-')[2]}.log"
    begin_anew(path)
    with path.open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=work,
            env=environment(),
            start_new_session=True,
        )
    return Fuzzer(process, path, work / f"{task.name}.count", task.vendor)


def seed_of(first: int, number: int) -> int:
    """The seed of process `number` of a campaign whose seed is `first`."""
    return (first + number - 1) % MAX_SEED + 1 if first else 0


def turn(module: str, others: int) -> tuple[str, ...]:
    """The option for a process of `module` that says how many others fuzz the same vendor: those of
    models share out what they begin with."""
    return (f"--turn={others}",) if module == MODELS else ()


def counted(fuzzer: Fuzzer) -> float:
    """When a process last noted how far it is, as `time.time` has it; 0 if it has not yet."""
    try:
        return fuzzer.progress.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def gone_wrong(fuzzer: Fuzzer, late: bool, own: str) -> str:
    """What is wrong with a process, in one line: it died, or is `late` to end; else "".

    own: the user's variants, to be named where nothing says which it was.
    """
    process, log = fuzzer.process, fuzzer.log
    status = process.poll()
    if status is None and not late:
        return ""
    if status is None:
        process.send_signal(ASK)
        time.sleep(0.5)
    said = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    if status is None:
        where = [line for line in said if line.startswith("File ")]
        return f"a fuzzer process does not end: {where[0] if where else 'killed'}"
    if status == 0 and any(line.startswith("Done ") for line in said):
        return ""
    errors = [line for line in said if "Error: " in line and not line.startswith("==")]
    if errors:
        _, _, variants_own = errors[-1].partition("StepError: ")
        return variants_own or f"a fuzzer process died: {errors[-1]}"
    how = f"with status {status}" if status >= 0 else f"by {signal.Signals(-status).name}"
    return f"a fuzzer process died: it ended early {how}{own and f', with {own}'}"


def stop(fuzzers: Sequence[Fuzzer], patience: float = 0) -> None:
    """End what still runs. patience: for how many seconds it may do so itself."""
    end = time.monotonic() + patience
    if patience:
        for fuzzer in fuzzers:
            fuzzer.process.terminate()
    for fuzzer in fuzzers:
        with suppress(subprocess.TimeoutExpired):
            fuzzer.process.wait(max(0, end - time.monotonic()))
        if fuzzer.process.poll() is None:
            fuzzer.process.kill()
    for fuzzer in fuzzers:
        fuzzer.process.wait()
