"""Would it be noticed? Small mutants of the variants' functions, told apart by machine.

Every mutant changes one place of a function that some variant replaces, as one variant has it: a
statement dropped, a condition negated, `and` and `or` exchanged, an event bit or an mp_state taken
for the other. All such places are taken, so nobody picks. The explorer says which mutants it can
tell from the variant they were made of (the others are equivalent within its bounds); then each of
those is fuzzed for up to --seconds on one core.

    python -m bench.mutants [--seconds S] [--variants A,B,..] [--json]
"""

import argparse
import ast
import copy
import inspect
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import FunctionType
from typing import NamedTuple

from fuzz.compare.compared import StepError, compared
from fuzz.compare.joint import start
from fuzz.explore.search import Search
from fuzz.memory.tables import Tables
from fuzz.schedule.alphabet import Alphabet, alphabet_of, usual_words, words_of
from variants.catalogue import BUILT_IN, built_in, choose
from variants.machine.step import VENDORS, Vendor
from variants.variant import replaced

HERE = Path(__file__).resolve().parent.parent
SWAPPED = {
    "KVM_APIC_INIT": "KVM_APIC_SIPI",
    "KVM_APIC_SIPI": "KVM_APIC_INIT",
    "INIT_RECEIVED": "RUNNABLE",
    "RUNNABLE": "INIT_RECEIVED",
}
HARMLESS = ("preempt", "warn_on")
"""Calls that do nothing but mark a point or note a warning: dropping these is no mutant."""


class Mutant(NamedTuple):
    """A variant's model with one change: `about` says which, `source` is the whole module."""

    variant: str
    about: str
    source: str


class Verdict(NamedTuple):
    """length: of the shortest schedule that tells the mutant, None if there is none within the
    explorer's bounds. seconds: until a campaign found it, None if it did not or was not run."""

    mutant: Mutant
    vendor: Vendor
    length: int | None
    seconds: float | None


MODULE = """
from variants.catalogue import built_in
from variants.variant import Variant, replaced, replaces
from variants.machine import {module}
from {imported_from} import {names}


@replaces({module}.{target})
{function}


others = replaced(built_in()["{variant}"])
others.pop({module}.{target}, None)
VARIANT = Variant("mutant", "a mutant", (*others.values(), {target}))
"""
"""A mutant as a file: the variant it was made of, with one function replaced by a mutated one."""


def functions(names: Sequence[str]) -> Iterator[tuple[str, FunctionType, FunctionType]]:
    """Of each variant, what it has in place of each function that one of them replaces: variant,
    function of the machine, what is in its place."""
    variants = [built_in()[name] for name in names]
    targets = dict.fromkeys(
        target for variant in built_in().values() for target in replaced(variant)
    )
    for variant in variants:
        own = replaced(variant)
        for target in targets:
            yield variant.name, target, own.get(target, target)


def mutants(variant: str, target: FunctionType, function: FunctionType) -> Iterator[Mutant]:
    """Every mutant of the function that `variant` has in place of `target`."""
    for about, tree in changed(function, changes):
        text = ast.unparse(tree)
        yield Mutant(variant, about, source(variant, target, function, text))


def changed(
    function: FunctionType, changes: Callable[[ast.AST], Iterable["Change"]]
) -> Iterator[tuple[str, ast.FunctionDef]]:
    """`function` with one of `changes`, and which: for every change that can be made."""
    (defined,) = ast.parse(inspect.getsource(function)).body
    assert isinstance(defined, ast.FunctionDef)
    defined.decorator_list = []
    for number, node in enumerate(ast.walk(defined)):
        for change in changes(node):
            mutated = copy.deepcopy(defined)
            change.apply(list(ast.walk(mutated))[number])
            line = function.__code__.co_firstlineno + getattr(node, "lineno", 1) - 1
            about = f"{function.__name__}, line {line}: {change.about}"
            yield about, ast.fix_missing_locations(mutated)


def source(variant: str, target: FunctionType, function: FunctionType, text: str) -> str:
    """The file of a mutant."""
    module = target.__module__.rpartition(".")[2]
    there = vars(sys.modules[function.__module__])
    names = {"Vcpu", *function.__code__.co_names} & there.keys()
    return MODULE.format(
        module=module,
        imported_from=function.__module__,
        names=", ".join(sorted(names)),
        target=target.__name__,
        function=text,
        variant=variant,
    )


class Change(NamedTuple):
    """A change to a node: at `place` in its `body` for statements, else of the node itself."""

    about: str
    kind: str
    place: int = 0

    def apply(self, node: ast.AST) -> None:
        """Change `node`."""
        match node:
            case ast.FunctionDef() | ast.If() if self.kind == "drop":
                node.body[self.place] = ast.Pass()
            case ast.If() | ast.IfExp():
                node.test = ast.UnaryOp(ast.Not(), node.test)
            case ast.BoolOp():
                node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            case ast.Name():
                node.id = SWAPPED[node.id]
            case ast.Attribute():
                node.attr = SWAPPED[node.attr]
            case ast.Return():
                node.value = ast.UnaryOp(ast.Not(), node.value or ast.Constant(None))


def changes(node: ast.AST) -> Iterator[Change]:
    """The changes that can be made to `node` alone."""
    if isinstance(node, ast.FunctionDef | ast.If):
        for index, statement in enumerate(node.body):
            if isinstance(statement, ast.AugAssign | ast.Expr):
                text = ast.unparse(statement)
                called = text.split("(")[0].split(".")[-1]
                if called not in HARMLESS and not text.startswith(("'", '"')):
                    yield Change(f"without `{text}`", "drop", index)
    match node:
        case ast.If() | ast.IfExp():
            yield Change(f"not `{ast.unparse(node.test)}`", "negate")
        case ast.BoolOp():
            yield Change(f"and/or in `{ast.unparse(node)}`", "boolean")
        case ast.Name(id=name) | ast.Attribute(attr=name) if name in SWAPPED:
            yield Change(f"{SWAPPED[name]} for {name}", "swap")
        case ast.Return(value=ast.BoolOp() | ast.Compare() | ast.Attribute()):
            yield Change(f"not `{ast.unparse(node)}`", "negate")


def bounds(vendor: Vendor) -> Iterator[tuple[Alphabet, int | None]]:
    """How far to explore, the quickest first."""
    yield alphabet_of(vendor, usual_words(vendor), races=False), None
    yield alphabet_of(vendor, words_of(vendor), races=False), 4
    yield alphabet_of(vendor, usual_words(vendor), races=True), 5


def shortest(vendor: Vendor, variant: str, path: Path) -> int | None:
    """The length of the shortest schedule in which the mutant at `path` shows."""
    subject = compared(vendor, choose(variant, [str(path)]))
    for alphabet, depth in bounds(vendor):
        tables = Tables(subject, alphabet.steps)
        for bsp in (False, True):
            search = Search(tables, alphabet, start(subject, bsp), lambda *_: None)

            def shown(search: Search = search) -> list[int]:
                found = search.found.values()
                return [path.length for one, path in found if one.kind != "latent"]

            try:
                search.run(depth, until=lambda: bool(shown()))
            except StepError:
                return 0
            if shown():
                return min(shown())
    return None


def fuzz(vendor: Vendor, variant: str, path: Path, seconds: int) -> float | None:
    """Seconds until a fuzzer on one core finds the mutant at `path`, start-up included."""
    with tempfile.TemporaryDirectory(prefix="eventdiff-bench-") as folder:
        command = [sys.executable, "-m", "fuzz.campaign.target", "--vendor", vendor]
        command += ["--variants", variant, "--variant", str(path), "--findings", folder]
        process = subprocess.Popen(
            [*command, "--", f"-max_total_time={seconds}", "-seed=1"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(HERE)},
        )
        began = time.monotonic()
        try:
            while process.poll() is None:
                time.sleep(0.1)
                for found in Path(folder).glob("[0-9]*.json"):
                    if ": latent: " not in json.loads(found.read_text())["signature"]:
                        return time.monotonic() - began
        finally:
            process.kill()
            process.wait()
    return None


def judge(mutant: Mutant, vendor: Vendor, seconds: int) -> Verdict:
    """Explore, and if that tells the mutant, fuzz."""
    with tempfile.TemporaryDirectory(prefix="eventdiff-bench-") as folder:
        path = Path(folder) / "mutant.py"
        path.write_text(mutant.source)
        length = shortest(vendor, mutant.variant, path)
        found = None if length is None else fuzz(vendor, mutant.variant, path, seconds)
        return Verdict(mutant, vendor, length, found)


def line(verdict: Verdict) -> str:
    """A verdict in one line."""
    if verdict.length is None:
        shown = "equivalent"
    else:
        seconds = "not found" if verdict.seconds is None else f"{verdict.seconds:.1f} s"
        shown = f"{verdict.length} steps, {seconds}"
    return f"{verdict.vendor} {verdict.mutant.variant}: {verdict.mutant.about}: {shown}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.mutants")
    parser.add_argument("--seconds", type=int, default=60, help="to fuzz each (60)")
    parser.add_argument("--variants", default=",".join(BUILT_IN), metavar="A,B,..")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    made = [
        mutant for chosen in functions(options.variants.split(",")) for mutant in mutants(*chosen)
    ]
    jobs = [(mutant, vendor, options.seconds) for mutant in made for vendor in VENDORS]
    verdicts = []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for verdict in pool.map(judge, *zip(*jobs, strict=True)):
            verdicts.append(verdict)
            if not options.json:
                print(line(verdict), flush=True)
    if options.json:
        print(json.dumps([{**one._asdict(), "mutant": one.mutant.about} for one in verdicts]))
        return
    told = [verdict for verdict in verdicts if verdict.length is not None]
    found = [verdict for verdict in told if verdict.seconds is not None]
    print(f"{len(made)} mutants, {len(verdicts)} with each vendor: the explorer tells {len(told)},")
    print(f"a campaign of {options.seconds} s on one core finds {len(found)} of those")


if __name__ == "__main__":
    main()
