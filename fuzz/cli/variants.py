"""`eventdiff variants`: which there are, what they replace, how two differ; a new one to start."""

import argparse
import difflib
import inspect
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path
from textwrap import dedent
from types import FunctionType

from fuzz.cli.output import complain, write
from fuzz.cli.status import DIFFERENT, SAME
from fuzz.compare.signature import Form
from fuzz.schedule.schedule import printable, races
from variants import template
from variants.catalogue import BUILT_IN, VariantError, check_name, with_own
from variants.passing import not_passed
from variants.variant import Variant, machine_functions, name_of, replaced

WHOLE = 1000
"""Lines of context: functions are shown whole."""

EPILOG = """\
examples:
  eventdiff variants
  eventdiff variants --functions                     what of the machine can be replaced
  eventdiff variants --diff yadong paolo             a unified diff of the functions that differ
  eventdiff variants --new mine                      writes mine.py, which runs at once
  eventdiff fuzz --time 10 --variants original --variant mine.py --out reports/mine
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `eventdiff variants`."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--variant", action="append", default=[], metavar="FILE", help="a variant of your own, too"
    )
    parser.add_argument("--json", action="store_true")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--new", metavar="NAME", help="write NAME.py, a commented variant")
    what.add_argument(
        "--diff", nargs=2, metavar=("A", "B"), help="which functions differ; status 1 if any"
    )
    what.add_argument("--functions", action="store_true", help="what a variant can replace")


def do_variants(options: argparse.Namespace) -> int:
    """Run the command; the exit status."""
    if options.new is not None:
        return new(options.new)
    if options.functions:
        return list_functions(options.json)
    known = with_own(options.variant)
    if options.diff:
        one, other = (chosen(known, name) for name in options.diff)
        return show_difference(one, other, options.json)
    if options.json:
        print(json.dumps([described(variant) for variant in known.values()]))
        return SAME
    width = max(map(len, known))
    for name, variant in known.items():
        print(f"{name:{width}}  {printable(variant.provenance)}")
    return SAME


def complain_of_races(variants: Sequence[Variant], forms: Iterable[Form]) -> None:
    """Say of which races among `forms` nothing can be concluded: see `variants.passing`."""
    if not any(races(form.schedule) for form in forms):
        return
    for variant in variants:
        for function, points in not_passed(variant).items():
            what = f"{function} does not pass {', '.join(points)}"
            complain(f"variant {variant.name}: {what}: races there differ, whatever it changes")


def described(variant: Variant) -> dict[str, object]:
    replaces = [name_of(function) for function in replaced(variant)]
    return {"name": variant.name, "provenance": variant.provenance, "replaces": replaces}


def chosen(known: dict[str, Variant], name: str) -> Variant:
    if name not in known:
        raise VariantError(f"unknown variant {name!r}, expected one of {', '.join(known)}")
    return known[name]


def new(name: str) -> int:
    """Write the template as `name`.py. Raises VariantError, and OSError if the file is there."""
    check_name(name)
    word = re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) and not iskeyword(name)
    if name in BUILT_IN or not word:
        raise VariantError(f"{name!r} will not do: a new name, a word as for a Python module")
    if find_spec(name):
        raise VariantError(f"{name!r} will not do: there is a Python module of this name")
    title = "What `eventdiff variants --new` writes: a variant to start from."
    text = inspect.getsource(template).replace(title, "A variant to start from.")
    with Path(f"{name}.py").open("x", encoding="utf-8") as file:
        file.write(text.replace("template", name))
    command = f"eventdiff fuzz --time 10 --variants original --variant {name}.py"
    print(f"{name}.py: written; next: {command}")
    return SAME


def list_functions(as_json: bool) -> int:
    """Print the functions of the machine by module, each with what it does."""
    found = [(name_of(function), summary(function)) for function in machine_functions().values()]
    if as_json:
        print(json.dumps([{"function": name, "about": about} for name, about in found]))
        return SAME
    width = max(len(name) for name, _ in found)
    for name, about in sorted(found):
        print(f"{name:{width}}  {about}".rstrip())
    return SAME


def summary(function: FunctionType) -> str:
    return (inspect.getdoc(function) or "").partition("\n")[0]


def differences(a: Variant, b: Variant) -> Iterator[tuple[str, str]]:
    """For each function in which two variants differ its name and a unified diff of their texts."""
    one, other = replaced(a), replaced(b)
    for target in dict.fromkeys((*one, *other)):
        functions = one.get(target, target), other.get(target, target)
        if functions[0] is functions[1]:
            continue
        before, after = map(text_of, functions)
        names = f"{a.name}: {where(functions[0])}", f"{b.name}: {where(functions[1])}"
        yield name_of(target), "".join(difflib.unified_diff(before, after, *names, n=WHOLE))


def text_of(function: FunctionType) -> list[str]:
    """A function's source without its decorators."""
    try:
        lines = dedent(inspect.getsource(function)).splitlines(keepends=True)
    except OSError:
        return [f"{function.__name__}: no source\n"]
    return lines[next((n for n, line in enumerate(lines) if line.startswith("def ")), 0) :]


def where(function: FunctionType) -> str:
    """The file of a function, as short as it can be said."""
    path = Path(function.__code__.co_filename)
    root = Path(template.__file__).parent.parent
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def show_difference(a: Variant, b: Variant, as_json: bool) -> int:
    """Print in which functions two variants differ, and how."""
    found = list(differences(a, b))
    if as_json:
        print(json.dumps([{"function": name, "diff": diff} for name, diff in found]))
    else:
        print(f"{a.name} and {b.name} differ in {', '.join(n for n, _ in found) or 'nothing'}")
        write("".join(f"\n{diff}" for _, diff in found).encode())
    return DIFFERENT if found else SAME
