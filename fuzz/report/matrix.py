"""What findings are to each variant on each vendor."""

from collections.abc import Mapping, Sequence
from typing import Final

from fuzz.findings.finding import Ruling
from fuzz.report.ruled import Ruled, side_of, telling
from variants.machine.step import Vendor

COUNTED: Final[Mapping[Ruling, tuple[str, str]]] = {
    "regression": ("regression", "regressions"),
    "both": ("wrong either way", "wrong either way"),
    "fix": ("fix", "fixes"),
    "open": ("open", "open"),
    "KVM only": ("KVM only", "KVM only"),
}
"""A ruling, of one finding and of more."""


def as_to(one: Ruled, variant: str, base: str, vendor: Vendor) -> Ruling | None:
    """What a finding is to a variant on a vendor; None if it does there as the base does."""
    if vendor not in one.by_vendor:
        return None
    form, _, broken, ruling = one.by_vendor[vendor]
    if variant not in broken:
        return None
    if ruling == "regression":
        return ruling if telling(broken)[variant] else None
    if base in broken:
        return None if variant in side_of(form, base) else ruling
    return ruling if variant in one.finding.deviating else None


def counts(
    found: Sequence[Ruled], variant: str, base: str, vendor: Vendor
) -> list[tuple[Ruling, str]]:
    """How many findings are what to a variant on a vendor, in words."""
    each = [as_to(one, variant, base, vendor) for one in found]
    return [
        (ruling, f"{each.count(ruling)} {words[each.count(ruling) > 1]}")
        for ruling, words in COUNTED.items()
        if ruling in each
    ]
