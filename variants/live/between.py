"""The kernels between two: to see between which of them something changed."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from variants.live.artefacts import locked
from variants.live.cache import build_of, cache_folder
from variants.live.debian import STOCK, fetch_kernel
from variants.live.emulator import LiveError
from variants.live.entries import KERNEL, Entry, Setup, is_kernel, read_setup, version_of
from variants.live.offers import UPSTREAM, Offer, newest, numbers, offered
from variants.live.runner import Build
from variants.live.semantic import BASE

Release = list[int]
"""The numbers of a version: [6, 12, 117]."""


def set_up_between(cache: Path | None, one: str, other: str) -> dict[str, Build]:
    """The kernels that are set up between those of two variants, in order from one to the other.

    Without these two. Raises LiveError if one is not set up.
    """
    folder = cache_folder(cache).resolve()
    setup = read_setup(folder)
    return in_order(folder, setup, one, other, inside(folder, setup, one, other))


def between(
    cache: Path | None, one: str, other: str, mirror: str | None = None
) -> dict[str, Build]:
    """`set_up_between`, and of every other series the newest image that the mirrors offer.

    Images are named as kernels that are set up, linux-6.17, and kept as what nothing uses is. Takes
    the cache's lock. Raises LiveError, and Unavailable if the mirrors cannot be reached.
    """
    with locked(cache_folder(cache)) as store:
        folder = store.folder
        setup = read_setup(folder)
        found = inside(folder, setup, one, other)
        first, last = sorted(release(folder, setup, name) for name in (one, other))
        there = [release_of(folder, entry) for entry in found.values()]
        offers = offered(folder / "apt", mirror) if series_between(first, last) else []
        for offer in images_between(offers, first, last, there):
            kernel = store.within(fetch_kernel(store, offer))
            found[KERNEL + offer.series] = Entry(kernel, f"{kernel}/{STOCK}")
        return in_order(folder, setup, one, other, found)


def inside(folder: Path, setup: Setup, one: str, other: str) -> dict[str, Entry]:
    """Debian's kernels that are set up, between those of two variants."""
    first, last = sorted(release(folder, setup, name) for name in (one, other))
    return {
        name: entry
        for name, entry in setup.variants.items()
        if (is_kernel(name) or name == BASE) and first < release_of(folder, entry) < last
    }


def release(folder: Path, setup: Setup, name: str) -> Release:
    """That of the kernel of a variant. Raises LiveError if it is not set up."""
    entry = setup.entry(name)
    if not entry:
        raise LiveError(f"no live variant {name!r}, only {', '.join(setup.variants)}")
    return release_of(folder, entry)


def release_of(folder: Path, entry: Entry) -> Release:
    version = version_of(folder / entry.kernel)
    found = UPSTREAM.match(version)
    if not found:
        raise LiveError(f"{version!r} is no version of Linux")
    return numbers(found[0])


def series_between(first: Release, last: Release) -> bool:
    """Whether there can be a series between those of two kernels."""
    major, minor = first[:2]
    return [major, minor + 1] < last[:2]


def images_between(
    offers: Iterable[Offer], first: Release, last: Release, there: Collection[Release]
) -> list[Offer]:
    """The newest image of each series between those of two kernels that has none there."""
    have = [one[:2] for one in there]
    found: dict[str, Offer] = {}
    for offer in newest(offers):
        if first[:2] < (series := numbers(offer.series)) < last[:2] and series not in have:
            found.setdefault(offer.series, replace(offer, build=()))
    return list(found.values())


def in_order(
    folder: Path, setup: Setup, one: str, other: str, kernels: Mapping[str, Entry]
) -> dict[str, Build]:
    """The builds of kernels between two, from one to the other."""
    downwards = release(folder, setup, one) > release(folder, setup, other)
    names = sorted(kernels, key=lambda name: release_of(folder, kernels[name]), reverse=downwards)
    return {name: build_of(folder, setup, kernels[name]) for name in names}
