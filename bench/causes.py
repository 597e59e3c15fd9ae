"""Is a cause one finding? One-line changes to the machine, alone and two at a time.

Each change is explored on both vendors, within bounds; what shows is grouped, and the findings are
counted. Then two changes are made in one variant. Each divergence class there is laid to the change
that shows the same alone, if one does; a finding with classes of one change and of the other mixes
them. A change that has no class, and whose function no finding names, is hidden by the other if
the variant shows the same without it; else it is lost.

    python -m bench.causes [--json]
"""

import argparse
import ast
import inspect
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from fuzz.compare.compared import compared
from fuzz.compare.joint import start
from fuzz.compare.signature import Form, Signature
from fuzz.explore.exhaustive import AP, BSP, Prefix, better, schedule_of
from fuzz.explore.search import Search
from fuzz.findings.finding import grouped
from fuzz.findings.origin import alike, end_of
from fuzz.memory.tables import Tables
from fuzz.schedule.alphabet import Alphabet, alphabet_of, usual_words, words_of
from variants.catalogue import built_in, load_file
from variants.machine.step import VENDORS, Vendor
from variants.variant import Variant, machine_functions


class Change(NamedTuple):
    """In the text of `function`, `new` for `old`."""

    function: str
    old: str
    new: str


CHANGES: Final = (
    Change("svm_set_gif", "if value and (", "if value and (vcpu.pending_events or "),
    Change("nested_vmx_enter_non_root_mode", "vcpu.nmi_window:", "vcpu.pending_events:"),
    Change("kvm_vcpu_has_events", "vcpu.pending_events\n", "vcpu.pending_events & 1\n"),
    Change("vmx_apic_init_signal_blocked", "vcpu.vmxon", "vcpu.vmxon and not vcpu.guest_mode"),
    Change("svm_apic_init_signal_blocked", "not gif_set(vcpu) or", "not gif_set(vcpu) and"),
    Change("kvm_arch_vcpu_ioctl_get_mpstate", "kvm_apic_accept_events(vcpu)", "pass"),
    Change("kvm_arch_vcpu_ioctl_set_mpstate", "if waits and", "if not waits and"),
    Change(
        "svm_check_nested_events", "if nested_svm_exit_on(vcpu", "if not nested_svm_exit_on(vcpu"
    ),
    Change("kvm_apic_accept_events", "vcpu.pending_events &= ~KVM_APIC_SIPI", "pass"),
    Change("kvm_apic_accept_events", "RUNNABLE if vcpu.bsp", "RUNNABLE if not vcpu.bsp"),
    Change("apic_accept_irq", "vcpu.pending_events = KVM", "vcpu.pending_events |= KVM"),
    Change("handle_vmoff", "vcpu.request(Req.EVENT)", "pass"),
    Change("nested_svm_vmexit", "vcpu.mp_state = Mp.RUNNABLE", "pass"),
    Change("vmx_check_nested_events", "vcpu.pending_events &= ~KVM_APIC_INIT", "pass"),
    Change("vcpu_block", "vcpu.mp_state == Mp.HALTED", "vcpu.mp_state == Mp.UNINITIALIZED"),
    Change("kvm_vcpu_reset", "vcpu.guest_mode = vcpu.smm", "vcpu.smm"),
)
"""One line each, as a patch might have it."""
PAIRS: Final = ((8, 9), (0, 4), (3, 13), (2, 14), (5, 6), (4, 7), (8, 10), (11, 13))
"""Changes by number, two to a variant; the first two are in one function."""


class Told(NamedTuple):
    """What became of a variant with `changes`. findings: their titles. mixed: how many mix two
    changes. lost: how many changes none of the findings is about. hidden: how many change nothing
    beside the others."""

    changes: tuple[str, ...]
    signatures: int
    findings: tuple[str, ...]
    mixed: int
    lost: int
    hidden: int


def text_of(function: str, changes: Sequence[Change]) -> str:
    """The text of a function with what of `changes` is in it."""
    text = inspect.getsource(machine_functions()[function])
    for change in changes:
        if change.function == function:
            assert change.old in text, change
            text = text.replace(change.old, change.new, 1)
    return text


def module(changes: Sequence[Change]) -> str:
    """A variant with `changes`, as a file."""
    lines = ["from variants.variant import Variant, replaces"]
    functions = list(dict.fromkeys(change.function for change in changes))
    for name in functions:
        there = machine_functions()[name]
        text = text_of(name, changes)
        named = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
        imported = [*sorted((named & there.__globals__.keys()) - {name}), f"{name} as replaced"]
        lines.append(f"from {there.__module__} import {', '.join(imported)}")
        lines.append(f"\n\n@replaces(replaced)\n{text}\n")
    lines.append(f'VARIANT = Variant("changed", "changed", ({", ".join(functions)},))')
    return "\n".join(lines) + "\n"


def extents(vendor: Vendor) -> Iterator[tuple[Alphabet, int]]:
    """What to explore, and to which depth."""
    yield alphabet_of(vendor, usual_words(vendor), races=False), 6
    yield alphabet_of(vendor, words_of(vendor), races=False), 3
    yield alphabet_of(vendor, usual_words(vendor), races=True), 3


def forms_of(vendor: Vendor, variants: Sequence[Variant]) -> list[Form]:
    """Every divergence class within the extents, each with a shortest schedule."""
    subject = compared(vendor, variants)
    found: dict[Signature, Form] = {}
    for alphabet, depth in extents(vendor):
        tables = Tables(subject, alphabet.steps)
        for prefix in (Prefix(AP, BSP), Prefix(BSP, AP)):
            search = Search(tables, alphabet, start(subject, prefix.on == BSP), lambda *_: None)
            search.run(depth)
            for signature, (divergence, path) in search.found.items():
                form = Form(divergence, schedule_of(search, path, prefix))
                found[signature] = better(found.get(signature), form)
    return list(found.values())


def all_forms(variants: Sequence[Variant]) -> list[Form]:
    """Of both vendors."""
    return [form for vendor in VENDORS for form in forms_of(vendor, variants)]


def tell(changes: tuple[Change, ...]) -> Told:
    """Explore a variant with `changes`, group, and lay what is found to the changes."""
    with tempfile.TemporaryDirectory(prefix="eventdiff-bench-") as folder:
        base = built_in()["original"]
        made = base, loaded(changes, Path(folder))
        alone = {change: loaded([change], Path(folder)) for change in changes}

        def laid_to(form: Form) -> frozenset[Change]:
            """The changes that alone end the schedule as all of them do."""
            end = end_of(made[1], form.schedule)
            ends = {one: end_of(variant, form.schedule) for one, variant in alone.items()}
            return frozenset(one for one, other in ends.items() if alike(other, end, form))

        findings = grouped(made, all_forms(made))
        laid = [{laid_to(form) for form in finding.forms} for finding in findings]
        named = {name for finding in findings for name in finding.functions}
        shown = {change for some in laid for one in some for change in one}
        shown |= {change for change in changes if change.function in named}
        untold = [change for change in changes if change not in shown]
        without = [[one for one in changes if one != change] for change in untold]
        hidden = [not all_forms((loaded(some, Path(folder)), made[1])) for some in without]
    return Told(
        tuple(f"{one.function}: {one.new.strip()}" for one in changes),
        sum(len(one.forms) for one in findings),
        tuple(one.title for one in findings),
        sum(len([one for one in some if len(one) == 1]) > 1 for some in laid),
        hidden.count(False),
        hidden.count(True),
    )


def loaded(changes: Sequence[Change], folder: Path) -> Variant:
    """The variant with `changes`."""
    path = folder / f"changed{len(list(folder.iterdir()))}.py"
    path.write_text(module(changes))
    return load_file(str(path))


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.causes")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    chosen = [(change,) for change in CHANGES] + [(CHANGES[a], CHANGES[b]) for a, b in PAIRS]
    results = []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for told in pool.map(tell, chosen):
            results.append(told)
            if not options.json:
                print(text(told), flush=True)
    if options.json:
        print(json.dumps([told._asdict() for told in results]))
        return
    counts = [len(told.findings) for told in results if len(told.changes) == 1]
    many = f"{median(counts):g} findings in the median, {max(counts)} at most"
    print(f"{len(counts)} changes: {many}, {counts.count(0)} not found")
    wrong = f"{sum(told.mixed for told in results)} findings mix two changes"
    lost, hidden = sum(told.lost for told in results), sum(told.hidden for told in results)
    print(f"{len(PAIRS)} pairs: {wrong}, {lost} changes are lost, {hidden} hidden by the other")


def text(told: Told) -> str:
    """What became of a variant, in a few lines."""
    made = "; ".join(told.changes)
    lines = [f"{made}: {told.signatures} signatures", *(f"    {one}" for one in told.findings)]
    if len(told.changes) > 1:
        lines.append(f"    {told.mixed} mixed, {told.lost} lost, {told.hidden} hidden")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
