"""What ends a campaign: options, and the certificates that say what there is to find."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fuzz.campaign.campaign import Ends
from fuzz.cli.explore import read_certificate
from fuzz.cli.output import complain
from fuzz.explore.certificate import hashes
from fuzz.page.read import FolderError
from fuzz.schedule.seeds import CORPUS
from variants.machine.step import Vendor
from variants.variant import Variant

CERTIFICATE: Final = CORPUS / "exhaustive.json"
SECONDS: Final = 60
"""How long to fuzz if nothing else ends it."""
MAX_SECONDS: Final = 2**31 - 1
"""The most that libFuzzer takes."""
UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(text: str) -> int:
    """The seconds that an option says, for argparse. Raises ArgumentTypeError."""
    number, unit = (text[:-1], text[-1:]) if text[-1:] in UNITS else (text, "")
    if number.isdecimal() and 1 <= int(number) * UNITS[unit] <= MAX_SECONDS:
        return int(number) * UNITS[unit]
    what = f"expected 1 to {MAX_SECONDS} seconds, or as 10m, 6h, 7d, not {text!r}"
    raise argparse.ArgumentTypeError(what)


def ends_of(
    options: argparse.Namespace, vendors: tuple[Vendor, ...], variants: Sequence[Variant]
) -> Ends:
    """What ends the campaign. Raises AlphabetError or FolderError for a certificate that tells
    nothing of it."""
    wanted = None
    if options.until_complete:
        wanted = wanted_by(options.until_complete, vendors, variants)
    timed = options.time
    if timed is None and options.until_quiet is None and wanted is None:
        timed = SECONDS
    return Ends(timed, options.until_quiet, wanted)


def wanted_by(
    path: Path, vendors: tuple[Vendor, ...], variants: Sequence[Variant]
) -> frozenset[str]:
    """The signatures of a certificate. Raises AlphabetError or FolderError."""
    told, its = read_certificate(path), hashes(variants)
    # Signatures name variants.
    named, mine = sorted(told.get("variants", its["variants"])), sorted(its["variants"])
    if named != mine:
        raise FolderError(f"{path}: is of {', '.join(named)}, not of {', '.join(mine)}")
    if any(told.get(key, its[key]) != its[key] for key in its):
        complain(f"{path}: variants or models have changed since: not all of it may show")
    wanted = signatures_in(told, vendors)
    if not wanted:
        raise FolderError(f"{path}: no signatures of {', '.join(vendors)}")
    return wanted


def certified(vendors: tuple[Vendor, ...], variants: Sequence[Variant]) -> frozenset[str] | None:
    """All signatures there are, where the project's certificate is of what is compared."""
    try:
        told = read_certificate(CERTIFICATE)
    except OSError:
        return None  # A package carries none.
    if not hashes(variants).items() <= told.items():
        return None
    return signatures_in(told, vendors)


def signatures_in(certificate: Mapping[str, Any], vendors: Sequence[Vendor]) -> frozenset[str]:
    """Those of `vendors`."""
    names = (str(one["signature"]) for one in certificate.get("signatures", ()))
    return frozenset(name for name in names if name.partition(":")[0] in vendors)
