"""Schedules as YAML, format 1. Errors name the line and column and what was expected."""

from collections.abc import Callable, Mapping
from reprlib import repr as brief
from typing import Any, Final, NoReturn

import yaml

from fuzz.schedule.schedule import (
    BLOCK,
    MAX_STEPS,
    Schedule,
    ScheduleError,
    block_of,
    printable,
    step_problem,
    text_problem,
)
from variants.machine.points import POINTS
from variants.machine.step import (
    ACTIVITIES,
    EXITING,
    ICR_MODES,
    INTERCEPTS,
    MAX_VCPUS,
    MIN_VCPUS,
    MP_STATES,
    MSRS,
    OPS,
    SHORTHANDS,
    VENDORS,
    Step,
)

FORMAT: Final = 1
MOST_BLOCKS: Final = (1 << 31) - 1
KEYS: Final = ("format", "name", "about", "vendor", "vcpus", "steps")

Read = Callable[[yaml.Node], Any]


def fail(node: yaml.Node, problem: str) -> NoReturn:
    raise ScheduleError(f"{place(node.start_mark)}{problem}")


def place(mark: yaml.Mark | None) -> str:
    """Where a `yaml.Mark` is, as errors begin; nothing if there is none."""
    return f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""


def read_mapping(node: yaml.Node, known: tuple[str, ...], what: str) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        fail(node, f"expected a mapping for {what}")
    found: dict[str, yaml.Node] = {}
    for key, value in node.value:
        # The text, not the value: YAML reads the key `on` as true.
        name = key.value if isinstance(key, yaml.ScalarNode) else None
        if name not in known:
            fail(key, f"unknown key {brief(name)} in {what}, expected {', '.join(known)}")
        if name in found:
            fail(key, f"{name} given twice in {what}")
        found[name] = value
    return found


def read_text(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        fail(node, "expected text")
    return str(node.value)


def read_line(node: yaml.Node) -> str:
    """A name or a line about the schedule. The line break that ends a block is none of its text."""
    text = read_text(node)
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        text = text.rstrip("\n")
    if problem := text_problem(text):
        fail(node, problem)
    return text


def read_int(low: int, high: int) -> Callable[[yaml.Node], int]:
    def read(node: yaml.Node) -> int:
        text = read_text(node)
        try:
            value = int(text, 0)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            fail(node, f"expected a number from {low} to {high}, not {brief(text)}")
        return value

    return read


def read_word(words: tuple[str, ...]) -> Callable[[yaml.Node], str]:
    def read(node: yaml.Node) -> str:
        text = read_text(node)
        if text not in words:
            fail(node, f"expected {' or '.join(words)}, not {brief(text)}")
        return text

    return read


def read_words(words: tuple[str, ...]) -> Callable[[yaml.Node], tuple[str, ...]]:
    def read(node: yaml.Node) -> tuple[str, ...]:
        if not isinstance(node, yaml.SequenceNode):
            fail(node, f"expected a list of {', '.join(words)}")
        given: set[str] = set()
        for item in node.value:
            word = read_word(words)(item)
            if word in given:
                fail(item, f"{word} given twice")
            given.add(word)
        return tuple(word for word in words if word in given)

    return read


def read_target(node: yaml.Node) -> int:
    text = read_text(node)
    return SHORTHANDS[text] if text in SHORTHANDS else read_vcpu(node)


def read_mp_state(node: yaml.Node) -> str:
    text = read_text(node).upper().replace("-", "_")
    if text not in MP_STATES:
        fail(node, f"expected {' or '.join(MP_STATES)}, not {brief(node.value)}")
    return text


def read_at(node: yaml.Node) -> str:
    """A point of the models', or {block: K}."""
    if not isinstance(node, yaml.MappingNode):
        return read_word(tuple(POINTS))(node)
    given = read_mapping(node, ("block",), "at")
    if not given:
        fail(node, "at needs block")
    return f"{BLOCK}{read_int(0, MOST_BLOCKS)(given['block'])}"


read_vcpu = read_int(0, MAX_VCPUS - 1)
"""A vCPU number; whether the schedule has so many is checked with the whole step."""

REQUIRED: Final = object()
ARGUMENTS: Final[Mapping[str, Mapping[str, tuple[str, Read, Any]]]] = {
    "icr": {
        "from": ("on", read_vcpu, REQUIRED),
        "to": ("to", read_target, REQUIRED),
        "mode": ("mode", read_word(ICR_MODES), REQUIRED),
        "vector": ("vector", read_int(0, 0xFF), 0),
        "at": ("at", read_at, ""),
    },
    "vmlaunch": {
        "on": ("on", read_vcpu, REQUIRED),
        "activity": ("mode", read_word(ACTIVITIES), "active"),
        "exiting": ("controls", read_words(EXITING), ()),
    },
    "vmrun": {
        "on": ("on", read_vcpu, REQUIRED),
        "intercept": ("controls", read_words(INTERCEPTS), ()),
    },
    "rdmsr": {
        "on": ("on", read_vcpu, REQUIRED),
        "msr": ("mode", read_word(MSRS), MSRS[0]),
    },
    "set-mp-state": {
        "on": ("on", read_vcpu, REQUIRED),
        "state": ("mode", read_mp_state, REQUIRED),
    },
    "smi": {"to": ("on", read_vcpu, REQUIRED)},
    "nmi": {"to": ("on", read_vcpu, REQUIRED)},
}
"""For each op, its YAML keys: the field of `Step`, how to read it, its default."""
ON_ONLY: Final[Mapping[str, tuple[str, Read, Any]]] = {"on": ("on", read_vcpu, REQUIRED)}


def read_step(node: yaml.Node) -> Step:
    if not isinstance(node, yaml.MappingNode) or len(node.value) != 1:
        fail(node, "expected one step, like `hlt: {on: 1}`")
    (key, value) = node.value[0]
    op = read_text(key)
    if op not in OPS:
        fail(key, f"unknown step {brief(op)}, expected one of {', '.join(OPS)}")
    arguments = ARGUMENTS.get(op, ON_ONLY)
    given = read_mapping(value, tuple(arguments), op)
    fields: dict[str, Any] = {}
    for name, (field, read, default) in arguments.items():
        if name in given:
            fields[field] = read(given[name])
        elif default is REQUIRED:
            fail(node, f"{op} needs {name}")
        else:
            fields[field] = default
    return Step(op, **fields)


def load(text: str, name: str = "") -> Schedule:
    """Read a schedule; raises ScheduleError. `name` serves where the text gives none."""
    root = compose(text)
    if root is None:
        raise ScheduleError("line 1, column 1: empty, expected a schedule")
    return read_schedule(root, name)


class Loader(yaml.SafeLoader):
    """Stops at a list that is too long, instead of composing all of it, which takes long."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """`index` is a number for an item of a list."""
        if parent and isinstance(index, int) and index >= MAX_STEPS:
            fail(parent, f"too many steps, expected {MAX_STEPS} at most")
        return super().compose_node(parent, index)


def compose(text: str) -> yaml.Node | None:
    """The nodes of a YAML document, None if it is empty. Raises ScheduleError."""
    try:
        loader = Loader(text)
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        character = text[error.position]
        raise ScheduleError(
            f"line {line}, column {column}: not YAML: character {character!r}"
        ) from None
    try:
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        where = place(error.problem_mark or error.context_mark)
        problem = printable(error.problem or error.context or "")
        raise ScheduleError(f"{where}not YAML: {problem}") from None
    except (ValueError, OverflowError):
        # Of an escaped character's number, or a version's.
        raise ScheduleError(f"{place(loader.get_mark())}not YAML: number out of range") from None
    except RecursionError:
        raise ScheduleError(f"{place(loader.get_mark())}nested too deeply") from None


def read_schedule(root: yaml.Node, name: str) -> Schedule:
    given = read_mapping(root, KEYS, "a schedule")
    for key in ("format", "vendor", "vcpus", "steps"):
        if key not in given:
            fail(root, f"a schedule needs {key}")
    read_int(FORMAT, FORMAT)(given["format"])
    vendor = next(v for v in VENDORS if v == read_word(VENDORS)(given["vendor"]))
    vcpus = read_int(MIN_VCPUS, MAX_VCPUS)(given["vcpus"])
    nodes = given["steps"]
    if not isinstance(nodes, yaml.SequenceNode):
        fail(nodes, "expected a list of steps")
    steps = []
    for number, node in enumerate(nodes.value):
        step = read_step(node)
        if problem := step_problem(step, vendor, vcpus):
            fail(node, f"step {number}: {problem}")
        steps.append(step)
    name = read_line(given["name"]) if "name" in given else printable(name)
    about = read_line(given["about"]) if "about" in given else ""
    return Schedule(vendor, vcpus, tuple(steps), name, about)


def step_json(step: Step) -> dict[str, dict[str, Any]]:
    """One step as the plain mapping that its YAML stands for, defaults left out."""
    arguments: dict[str, Any] = {}
    for name, (field, _, default) in ARGUMENTS.get(step.op, ON_ONLY).items():
        value = getattr(step, field)
        if value == default:
            continue
        if field == "to" and value < 0:
            value = next(word for word, number in SHORTHANDS.items() if number == value)
        elif field == "controls":
            value = list(value)
        elif field == "at" and (block := block_of(value)) is not None:
            value = {"block": block}
        arguments[name] = value
    return {step.op: arguments}


def step_yaml(step: Step) -> str:
    """One step in flow style, as `load` reads it, defaults left out."""
    parts = []
    for name, value in step_json(step)[step.op].items():
        if name == "vector":
            value = f"{value:#04x}"
        elif isinstance(value, list):
            value = f"[{', '.join(value)}]"
        elif isinstance(value, dict):
            value = f"{{{', '.join(f'{key}: {one}' for key, one in value.items())}}}"
        parts.append(f"{name}: {value}")
    return f"{step.op}: {{{', '.join(parts)}}}"


def dump(schedule: Schedule) -> str:
    """Write `schedule`; `load` gives back an equal one."""
    lines = [f"format: {FORMAT}"]
    for key, text in (("name", schedule.name), ("about", schedule.about)):
        if text or key == "name":
            lines.append(yaml.safe_dump({key: text}, width=96, allow_unicode=True).rstrip("\n"))
    lines += [f"vendor: {schedule.vendor}", f"vcpus: {schedule.vcpus}"]
    if not schedule.steps:
        return "\n".join([*lines, "steps: []", ""])
    lines.append("steps:")
    lines += [f"- {step_yaml(step)}" for step in schedule.steps]
    return "\n".join([*lines, ""])


def schedule_json(schedule: Schedule) -> dict[str, Any]:
    """`schedule` as plain data, with the keys of the format."""
    about = {"about": schedule.about} if schedule.about else {}
    return {
        "format": FORMAT,
        "name": schedule.name,
        **about,
        "vendor": schedule.vendor,
        "vcpus": schedule.vcpus,
        "steps": [step_json(step) for step in schedule.steps],
    }
