"""What an exploration claims, in a form that can be checked by doing it again."""

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from fuzz.compare import cause, compared, joint, signature, wording
from fuzz.compare.signature import Form, Signature
from fuzz.explore.exhaustive import Explored
from fuzz.schedule.alphabet import Alphabet
from fuzz.schedule.text import step_yaml
from variants import link, machine, variant
from variants.link import sources
from variants.machine.step import Vendor
from variants.variant import Variant

NAMING: Final = (cause, compared, joint, signature, wording)
"""The modules that decide what a divergence is called."""


def code_hash(paths: Iterable[Path]) -> str:
    """One SHA-256 over the files' code, in the order of their names, without what is no code."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(hashlib.sha256(code_in(path.read_text()).encode()).digest())
    return digest.hexdigest()


def code_in(source: str) -> str:
    """The lines of a Python source that are code, without comments and docstrings."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str()), lineno=first, end_lineno=int(last)):
                lines[first - 1 : last] = [""] * (last - first + 1)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def hashes(variants: Sequence[Variant]) -> dict[str, Any]:
    """What is compared: variants, machine and the naming of divergences, each by its code."""
    folder = Path(machine.__file__).parent
    linking = (Path(link.__file__), Path(variant.__file__))
    return {
        "variants": {one.name: code_hash(sources(one)) for one in variants},
        "machine": code_hash([*folder.glob("*.py"), *linking]),
        "naming": code_hash(Path(str(module.__file__)) for module in NAMING),
    }


def certificate(
    variants: Sequence[Variant],
    alphabets: dict[Vendor, tuple[Alphabet, ...]],
    asked: dict[str, Any],
) -> dict[str, Any]:
    """What is explored: what is compared, alphabet, and `asked`, the options."""
    return {
        **hashes(variants),
        **asked,
        "alphabet": {
            vendor: [
                {
                    "steps": [step_yaml(step) for step in alphabet.steps],
                    "messages": [irq._asdict() for irq in alphabet.messages],
                    "points": list(alphabet.points),
                }
                for alphabet in some
            ]
            for vendor, some in alphabets.items()
        },
    }


def result(explored: dict[Vendor, Explored]) -> dict[str, Any]:
    """What the exploration found: `eventdiff explore --json` without the schedules."""
    return {
        "states": sum(one.states for one in explored.values()),
        "transitions": sum(one.transitions for one in explored.values()),
        "depth": max(one.depth for one in explored.values()),
        "fixpoint": all(one.fixpoint for one in explored.values()),
        "signatures": [
            signature_json(finding, one.shown)
            for _, one in sorted(explored.items())
            for finding in sorted(one.found.values(), key=lambda finding: str(finding.signature))
        ],
    }


def signature_json(finding: Form, shown: dict[Signature, Form | None]) -> dict[str, Any]:
    """A signature, with the length of its shortest schedule. A latent one also has `shows`: the
    signature that it leads to and the length of the schedule, or null if it leads to none; nothing
    if that has not been explored to an end."""
    length = len(finding.schedule.steps)
    described: dict[str, Any] = {"signature": str(finding.signature), "length": length}
    if finding.signature in shown:
        later = shown[finding.signature]
        described["shows"] = later and {
            "signature": str(later.signature),
            "length": len(later.schedule.steps),
        }
    return described


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Where two certificates disagree, a line each."""
    lines = [
        f"{key}: certified {old.get(key)}, now {new[key]}"
        for key in new
        if key not in ("signatures", "alphabet", "variants") and old.get(key) != new[key]
    ]
    for key in ("alphabet", "variants"):
        if old.get(key) != new[key]:
            lines.append(f"{key}: not the certified ones")
    before, after = (
        {
            one["signature"]: (one["length"], one.get("shows", "not known"))
            for one in some.get("signatures", [])
        }
        for some in (old, new)
    )
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            lines.append(f"certified, not found now: {name}")
        elif name not in before:
            lines.append(f"not certified: {name}")
        elif before[name] != after[name]:
            lines.append(f"found otherwise than certified: {name}")
    return lines
