"""KVM from inside: its blocks reached, and messages that land at one."""

import json
from pathlib import Path
from typing import Any

from tests.live.running import KERNELS, SEEDS, eventdiff
from variants.live.spots import LEFT_OUT
from variants.machine.points import POINTS

INSIDE = "original+inside"
RACE = """\
format: 1
name: sipi-while-init-is-taken
vendor: svm
vcpus: 2
steps:
- icr: {from: 0, to: 1, mode: init}
- icr: {from: 0, to: 1, mode: sipi, vector: 0x12, at: {block: BLOCK}}
- get-mp-state: {on: 1}
- nop: {on: 1}
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "race.yaml"
    file.write_text(text)
    return file


def functions(cache: Path, *files: Path) -> dict[str, list[dict[str, Any]]]:
    """The blocks of each function of the event path, after a run."""
    run = eventdiff(cache, "live", "run", "--coverage", "--json", "--variants", INSIDE, *files)
    assert run.returncode == 0, run.stderr
    (shown,) = map(json.loads, run.stdout.splitlines())
    return {one["function"]: one["blocks"] for one in shown["functions"]}


def reached(blocks: list[dict[str, Any]]) -> int:
    return sum(one["schedules"] > 0 for one in blocks)


def test_an_instrumented_build_does_what_the_plain_one_does(cache: Path) -> None:
    seeds = sorted(SEEDS.glob("*.yaml"))
    run = eventdiff(cache, "live", "run", "--variants", f"original,{INSIDE}", *seeds)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("the variants agree") == len(seeds)


def test_what_schedules_reach(cache: Path, tmp_path: Path) -> None:
    idle = written(tmp_path, "format: 1\nvendor: svm\nvcpus: 2\nsteps:\n- nop: {on: 1}\n")
    nothing = functions(cache, idle)
    started = functions(cache, SEEDS / "svm-init-startup.yaml")
    assert reached(nothing["vcpu_enter_guest"]) > 0
    assert reached(nothing["kvm_vcpu_reset"]) == 0
    assert reached(started["kvm_vcpu_reset"]) > 0
    assert reached(started["kvm_apic_accept_events"]) > reached(nothing["kvm_apic_accept_events"])
    whys = {one["why"] for one in started["kvm_vcpu_reset"] if not one["schedules"]}
    assert "the processor has no MPX" in whys
    lines = [one["frames"][-1] for one in started["kvm_apic_accept_events"]]
    assert all(line["file"] == "arch/x86/kvm/lapic.c" and line["line"] > 0 for line in lines)


def test_a_message_at_the_first_block_and_at_none(cache: Path, tmp_path: Path) -> None:
    def mp_state(block: int) -> str:
        file = written(tmp_path, RACE.replace("BLOCK", str(block)))
        run = eventdiff(cache, "live", "run", "--json", "--variants", INSIDE, file)
        assert run.returncode == 0, run.stderr
        return str(json.loads(run.stdout)["traces"][INSIDE][2]["mp_state"])

    assert mp_state(0) == "RUNNABLE"
    assert mp_state(1 << 20) == "INIT_RECEIVED"


def test_a_message_at_each_block(cache: Path, tmp_path: Path) -> None:
    file = written(tmp_path, RACE.replace("BLOCK", "0"))
    run = eventdiff(cache, "live", "races", "--json", "--variants", INSIDE, file)
    assert run.returncode in (0, 1), run.stderr
    (race,) = map(json.loads, run.stdout.splitlines())
    told = race["races"][INSIDE]
    assert all(part["sure"] for part in told["intervals"])
    first, last = told["intervals"][0], told["intervals"][-1]
    assert (first["first"], first["like"]) == (0, ["before"])
    assert (last["last"], last["like"]) == (told["blocks"] - 1, ["after"])
    assert any("kvm_apic_accept_events" in where for where in first["where"] + last["where"])


def test_a_message_at_each_block_of_vmrun_shows_what_the_model_does(
    cache: Path, tmp_path: Path
) -> None:
    """L1 has prepared VMRUN by then, page faults and all."""
    head, *_ = RACE.partition("- icr")
    race = (
        "- icr: {from: 0, to: 1, mode: init, at: {block: 0}}\n- vmrun: {on: 1, intercept: [init]}\n"
    )
    file = written(tmp_path, f"{head}{race}- nop: {{on: 1}}\n- nop: {{on: 1}}\n")
    run = eventdiff(cache, "live", "races", "--variants", INSIDE, file)
    assert run.returncode == 1, run.stderr
    assert "at no point" not in run.stdout
    assert "3 of the model's 3 outcomes are shown" in run.stdout


def test_named_points_show_what_the_model_shows_there(cache: Path, tmp_path: Path) -> None:
    for point in POINTS:
        text = RACE.replace("{block: BLOCK}", point)
        (tmp_path / f"{point}.yaml").write_text(text)
        (tmp_path / f"{point}-in-run.yaml").write_text(text.replace("get-mp-state", "hlt"))
    run = eventdiff(cache, "live", "conform", "--variants", "original", tmp_path)
    assert run.returncode == 0, run.stdout
    count = 2 * (len(POINTS) - len(LEFT_OUT))
    assert f"{count} of {count} schedules" in run.stdout
    assert f"{count} of them races, on instrumented builds" in run.stderr
    assert "2 left out: original: guest-executed" in run.stderr


def test_a_build_without_callbacks_has_no_races(plain_cache: Path, tmp_path: Path) -> None:
    file = written(tmp_path, RACE.replace("BLOCK", "0"))
    run = eventdiff(plain_cache, "live", "races", "--variants", "yadong", file)
    assert run.returncode == 2
    assert "--instrument yadong" in run.stderr
    assert run.stderr.count("\n") == 1
    plain = eventdiff(plain_cache, "live", "run", "--variants", "yadong", file)
    assert "cannot have" in plain.stdout


def test_what_cannot_be_instrumented(own_cache: Path) -> None:
    image = f"linux-{KERNELS[0]}"
    for name, why in ((image, "an image without source"), ("nosuch", "no such variant")):
        run = eventdiff(own_cache, "live", "setup", "--instrument", name)
        assert run.returncode == 2
        assert f"--instrument {name}: {why}" in run.stderr
        assert run.stderr.count("\n") == 1
