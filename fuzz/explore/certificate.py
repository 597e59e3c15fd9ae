"""What an exploration claims, in a form that can be checked by doing it again."""

import hashlib
import inspect
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from fuzz.compare.signature import Finding, Signature
from fuzz.explore.exhaustive import Explored
from fuzz.schedule.alphabet import Alphabet
from fuzz.schedule.text import step_yaml
from variants import machine
from variants.link import Variant
from variants.machine.step import Vendor


def content_hash(paths: Iterable[Path]) -> str:
    """One SHA-256 over the files' contents, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def sources(variant: Variant) -> set[Path]:
    """The files that define the hooks of `variant`."""
    hooks = [getattr(variant, field.name) for field in fields(variant)]
    files = [inspect.getsourcefile(hook) for hook in hooks if callable(hook)]
    return {Path(file) for file in files if file}


def certificate(
    variants: Sequence[Variant],
    alphabets: dict[Vendor, tuple[Alphabet, ...]],
    asked: dict[str, Any],
) -> dict[str, Any]:
    """What is explored: variants and machine by content, alphabet, and `asked`, the options."""
    folder = Path(machine.__file__).parent
    return {
        "variants": {variant.name: content_hash(sources(variant)) for variant in variants},
        "machine": content_hash(folder.glob("*.py")),
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


def signature_json(finding: Finding, shown: dict[Signature, Finding | None]) -> dict[str, Any]:
    """A signature, with the length of its shortest schedule. A latent one also has `shows`: the
    signature that it leads to and the length of the schedule, or null if it leads to none; nothing
    if that has not been explored to an end."""
    signature = finding.signature
    described: dict[str, Any] = {"signature": str(signature), "length": len(finding.schedule.steps)}
    if signature in shown:
        later = shown[signature]
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
    for signature in sorted(before.keys() | after.keys()):
        if signature not in after:
            lines.append(f"certified, not found now: {signature}")
        elif signature not in before:
            lines.append(f"not certified: {signature}")
        elif before[signature] != after[signature]:
            lines.append(f"found otherwise than certified: {signature}")
    return lines
