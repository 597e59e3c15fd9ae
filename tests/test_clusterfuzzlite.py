"""The recipe for ClusterFuzzLite and OSS-Fuzz: what its build script builds runs, and crashes on
what is not known alone."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

from fuzz.campaign.crash import of_vendor
from fuzz.findings.known import read_known
from fuzz.report.replay import automaton_of
from fuzz.schedule.codes import schedule_of_input
from fuzz.schedule.seeds import KNOWN
from fuzz.schedule.text import load
from variants.catalogue import choose
from variants.machine.step import VENDORS, Vendor

ROOT = Path(__file__).parent.parent
PARTS = (".clusterfuzzlite", "corpus", "fuzz", "variants")
COMPILE = f"""#!/bin/sh -eu
# In place of the base image's command, which packs a target with Python and all that it imports.
target=$OUT/$(basename -s .py "$1")
cat >"$target" <<END
#!/bin/sh
LD_PRELOAD=$OUT/sanitizer_with_fuzzer.so PYTHONPATH=$PWD {sys.executable} $PWD/$1 \\$@
END
chmod +x "$target"
"""
Build = Callable[[str], Path]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Run the build script as the base image does, with the corpus/known.yaml given."""

    def build_with(known: str) -> Path:
        source, out, commands = (tmp_path / name for name in ("src", "out", "bin"))
        for name in PARTS:
            shutil.copytree(ROOT / name, source / "eventdiff" / name, symlinks=True)
        (source / "eventdiff" / "corpus" / "known.yaml").write_text(known)
        out.mkdir()
        commands.mkdir()
        (commands / "python3").symlink_to(sys.executable)
        (commands / "compile_python_fuzzer").write_text(COMPILE)
        (commands / "compile_python_fuzzer").chmod(0o755)
        path = os.pathsep.join([str(commands), os.environ["PATH"]])
        given = {"SRC": str(source), "OUT": str(out), "WORK": str(tmp_path), "PATH": path}
        script = source / "eventdiff" / ".clusterfuzzlite" / "build.sh"
        subprocess.run([script], check=True, env={**os.environ, **given})
        return out

    return build_with


def run(target: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [target, "-seed=1", *arguments],
        cwd=target.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_what_is_known_is_no_crash(build: Build, tmp_path: Path) -> None:
    """Not in the seed corpus, which has all of it, and not after it."""
    out = build(KNOWN.read_text())
    for vendor in VENDORS:
        corpus = tmp_path / vendor
        with ZipFile(out / f"fuzz_events_{vendor}_seed_corpus.zip") as archive:
            archive.extractall(corpus)
        shown = {
            str(divergence.signature)
            for path in corpus.iterdir()
            for _, divergence in automaton_of(vendor, choose("", [])).compare(
                schedule_of_input(path.read_bytes())
            )
        }
        assert {name for name in read_known(KNOWN) if name.startswith(vendor)} <= shown
        # Without -reload=0, libFuzzer also counts what it reads again from the folder, which a slow
        # machine gives it the time for.
        ran = run(out / f"fuzz_events_{vendor}", str(corpus), "-runs=1000", "-reload=0")
        assert ran.returncode == 0, ran.stdout
        assert "Done 1000 runs" in ran.stdout
        assert "found LLVMFuzzerCustomMutator" in ran.stdout
        assert "sanitizer_with_fuzzer" not in ran.stdout
        assert not list(out.glob("crash-*"))


@pytest.mark.parametrize("vendor", VENDORS)
def test_what_is_not_known_is_a_crash(vendor: Vendor, build: Build) -> None:
    """Found from nothing. The input that is kept crashes again, and the reproducer shows it."""
    target = build("[]") / f"fuzz_events_{vendor}"
    for arguments in (["-runs=100000"], ["crash"]):
        ran = run(target, *arguments, "-exact_artifact_path=crash")
        assert ran.returncode not in (0, 1, 2), ran.stdout
        _, _, said = ran.stdout.partition("NewDivergence: ")
        signature, _, rest = said.partition("\n")
        schedule = load(rest.partition("\n\n")[0])
        shown = automaton_of(vendor, choose("", [])).compare(schedule)
        assert signature in {str(divergence.signature) for _, divergence in shown}


def test_an_input_runs_as_one_of_the_targets_vendor() -> None:
    for vendor in VENDORS:
        for data in (b"", b"\0", b"\1\0", b"\6\0", b"\0\0\0\2"):
            assert schedule_of_input(of_vendor(vendor, data)).vendor == vendor
