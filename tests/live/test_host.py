"""`eventdiff live run --host`, in an emulated machine whose own KVM can nest.

The machine is QEMU with Debian's kernel, a real kvm-amd and this Python as its init.
"""

import gzip
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import jinja2
import junitparser
import markupsafe
import pytest
import rich
import yaml

from fuzz.cli.main import main
from tests.live.running import ROOT, SEEDS
from variants.live.cache import builds
from variants.live.entries import SETUP
from variants.live.host import DEVICE, SYS_MODULE
from variants.live.initramfs import archive
from variants.live.machines import qemu

STDLIB = Path(sysconfig.get_path("stdlib"))
LEFT_OUT = {"test", "idlelib", "tkinter", "lib2to3", "ensurepip", "site-packages", "dist-packages"}
INIT = """
import ctypes, os, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
for kind, folder in (("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys"), ("tmpfs", "/tmp")):
    libc.mount(kind.encode(), folder.encode(), kind.encode(), 0, None)
for name, options in (("irqbypass", ""), ("kvm", "halt_poll_ns=0"), ("kvm-amd", "nested=1 vgif=0")):
    with open(f"/{name}.ko", "rb") as module:
        libc.syscall(313, module.fileno(), options.encode(), 0)
serial = os.open("/dev/ttyS0", os.O_WRONLY)
run = subprocess.run(
    [sys.executable, "-m", "fuzz.cli", "live", "run", "--host", "--json", "--cache", "/cache",
     "/seeds"],
    cwd="/", env={"PYTHONHOME": sys.prefix}, stdin=subprocess.DEVNULL, stdout=serial, stderr=serial,
)
os.write(serial, b"status %d\\nD\\n" % run.returncode)
libc.reboot(0x4321FEDC)
"""


def libraries(files: list[Path]) -> set[Path]:
    """What the programs and modules are linked with."""
    run = subprocess.run(["ldd", *files], capture_output=True, text=True, check=False)
    words = (word for line in run.stdout.splitlines() for word in line.split())
    return {Path(word) for word in words if word.startswith("/") and not word.endswith(":")}


def tree(folder: Path, target: Path) -> dict[str, Path]:
    """The files under `folder`, by where they are to be."""
    found = {}
    for file in folder.rglob("*"):
        inner = file.relative_to(folder)
        if file.is_file() and not LEFT_OUT & set(inner.parts) and file.suffix != ".pyc":
            found[str(target / inner)] = file
    return found


def system(cache: Path) -> bytes:
    """An initramfs with Python, this project, its cache and seeds; Python is its init."""
    python = Path(sys.executable).resolve()
    build = builds(cache, ["original"])["original"]
    files = {str(python): python} | tree(STDLIB, STDLIB)
    for package in (yaml, jinja2, markupsafe, rich, junitparser):
        files |= tree(Path(str(package.__file__)).parent, STDLIB / package.__name__)
    # It asks for its own version.
    (facts,) = Path(str(junitparser.__file__)).parent.parent.glob("junitparser-*.dist-info")
    files |= tree(facts, STDLIB / facts.name)
    for part in ("fuzz", "variants"):
        files |= tree(ROOT / part, Path("/", part))
    files |= {f"/seeds/{file.name}": file for file in SEEDS.glob("*.yaml")}
    files |= {"/irqbypass.ko": build.irqbypass, f"/cache/{SETUP}": cache / SETUP}
    files |= {f"/{name}": build.modules / name for name in ("kvm.ko", "kvm-amd.ko")}
    files[f"/cache/{build.agent.relative_to(cache)}"] = build.agent
    linked = [file for file in files.values() if ".so" in file.suffixes] + [python]
    files |= {str(library): library for library in libraries(linked)}
    contents = {name: (file.read_bytes(), 0o100755) for name, file in sorted(files.items())}
    contents["/init"] = (f"#!{python}\n{INIT}".encode(), 0o100755)
    folders = {str(parent) for name in contents for parent in Path(name).parents}
    folders |= {"/dev", "/proc", "/sys", "/tmp"}
    made = dict.fromkeys(sorted(folders - {"/"}), (b"", 16877))
    return archive({name.lstrip("/"): what for name, what in (made | contents).items()})


def test_a_host_that_can_nest(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build = builds(cache, ["original"])["original"]
    machine = qemu(build.vmlinuz)
    command, environment, stdin = machine.prepare(tmp_path, gzip.compress(system(cache), 1))
    command = ["1024" if word == "256" else word for word in command]
    run = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | environment,
        input=stdin,
        capture_output=True,
        timeout=300,
        check=False,
    )
    said = (tmp_path / "serial").read_text(errors="replace").replace("\r", "")
    assert "status 0\n" in said, (said[-2000:], run.stderr)
    assert "schedules are not svm: left out" in said
    lines = [line[line.index('{"') :] for line in said.splitlines() if '{"schedule"' in line]
    seeds = [str(file) for file in sorted(SEEDS.glob("svm*"))]
    main(["replay", "--json", *seeds])
    models = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [json.loads(line)["traces"]["host"] for line in lines] == [
        one["traces"]["original"] for one in models
    ]


def test_a_host_that_cannot(capsys: pytest.CaptureFixture[str]) -> None:
    nests = [file.read_text().strip() for file in SYS_MODULE.glob("kvm_*/parameters/nested")]
    if DEVICE.exists() and {"Y", "1"} & set(nests):
        pytest.skip("this host's KVM can nest")
    assert main(["live", "run", "--host", str(next(SEEDS.glob("svm*")))]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "cannot nest" in error
