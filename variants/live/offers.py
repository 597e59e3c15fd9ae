"""Which kernels the mirrors offer: images of Debian's cloud kernel, with source or without."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cmp_to_key
from pathlib import Path
from typing import Final

from variants.live.apt import Package, Suite, suites
from variants.live.artefacts import succeeds
from variants.live.emulator import Unavailable

IMAGE: Final = re.compile(r"linux-image-(\d+\.\d+\.\d\S*)-cloud-amd64")
KEPT: Final = re.compile(r"linux-(?:image|binary|modules|headers|kbuild|source)-\d\S*")
UPSTREAM: Final = re.compile(r"(\d+)\.(\d+)(?:\.\d+)*")


@dataclass(frozen=True)
class Offer:
    """A kernel that can be had.

    version: Debian's. abi: its name among modules. image: the packages with kernel and modules.
    build: those to build KVM with, its source among them; () where any is missing.
    """

    version: str
    abi: str
    suite: Suite
    image: tuple[Package, ...]
    build: tuple[Package, ...]

    @property
    def upstream(self) -> str:
        """The version as the kernel's makers count: 6.12.117."""
        found = UPSTREAM.match(self.version)
        assert found
        return found[0]

    @property
    def series(self) -> str:
        """6.12"""
        return series_of(self.version)

    @property
    def size(self) -> int:
        """Of the packages' files, in bytes."""
        return sum(package.size for package in (*self.image, *self.build))


def series_of(version: str) -> str:
    """The series of a kernel's version: its first two numbers. Raises Unavailable for others."""
    found = UPSTREAM.match(version)
    if not found:
        raise Unavailable(f"{version!r} is no version of Linux, such as 6.12 or 6.12.117")
    return f"{found[1]}.{found[2]}"


def offered(folder: Path, mirror: str | None) -> list[Offer]:
    """All that the mirror offers. folder: where apt's roots are. Raises LiveError, Unavailable."""
    return [offer for suite in suites(folder, mirror) for offer in offers_of(suite)]


def offers_of(suite: Suite) -> list[Offer]:
    """The cloud kernels that a suite has."""
    names = [name for name in suite.names("linux-") if KEPT.fullmatch(name)]
    return offers_in(suite, suite.packages(names))


def offers_in(suite: Suite, packages: Iterable[Package]) -> list[Offer]:
    """The cloud kernels among the packages of a suite."""
    there: dict[str, dict[str, Package]] = {}
    for package in packages:
        there.setdefault(package.name, {})[package.version] = package
    found = []
    for name, versions in there.items():
        if not (image := IMAGE.fullmatch(name)):
            continue
        abi = image[1]
        for version in versions:
            images = closure(there, [name], version)
            if images and UPSTREAM.match(version):
                build = build_packages(there, abi, version)
                found.append(Offer(version, abi, suite, images, build))
    return found


def build_packages(
    there: dict[str, dict[str, Package]], abi: str, version: str
) -> tuple[Package, ...]:
    """What KVM of that version is built from and with; () if the suite has not all of it."""
    source = there.get(f"linux-source-{series_of(version)}", {}).get(version)
    headers = closure(there, [f"linux-headers-{abi}-cloud-amd64"], version)
    kbuild = any(package.name.startswith("linux-kbuild-") for package in headers)
    return (source, *headers) if source and kbuild else ()


def closure(
    there: dict[str, dict[str, Package]], names: Iterable[str], version: str
) -> tuple[Package, ...]:
    """The packages named, and the kernel's own that they need; () if one is missing.

    How a kernel is split into packages changes: what one needs says what there is. An image among
    the headers' needs is not followed.
    """
    found: dict[str, Package] = {}
    todo = list(names)
    while todo:
        name = todo.pop()
        package = there.get(name, {}).get(version)
        if not package:
            return ()
        found[name] = package
        needed = [one for one in package.depends if one not in found and KEPT.fullmatch(one)]
        todo += [one for one in needed if not IMAGE.match(one)]
    return tuple(found.values())


def newest(offers: Iterable[Offer]) -> list[Offer]:
    """From new to old, those of which KVM can be built before images alone of the same version."""

    def compare(one: Offer, other: Offer) -> int:
        if one.version == other.version:
            return bool(one.build) - bool(other.build)
        return 1 if is_newer(one.version, other.version) else -1

    return sorted(offers, key=cmp_to_key(compare), reverse=True)


def is_newer(one: str, other: str) -> bool:
    """Whether one of Debian's versions is newer than another."""
    return succeeds(["dpkg", "--compare-versions", one, "gt", other])


def chosen(offers: Sequence[Offer], wanted: str) -> Offer:
    """The offer for `--kernel`: the newest of a series, or a certain version.

    One with source is preferred, as patches can be built for it. Raises Unavailable.
    """
    fitting = newest(
        offer
        for offer in offers
        if wanted in (offer.series, offer.upstream, offer.version, offer.abi)
    )
    if not fitting:
        known = ", ".join(sorted({offer.series for offer in offers}, key=numbers))
        raise Unavailable(f"the mirror has no Linux {wanted}, only {known}")
    return next((offer for offer in fitting if offer.build), fitting[0])


def numbers(series: str) -> list[int]:
    """To sort series by."""
    return [int(part) for part in series.split(".")]
