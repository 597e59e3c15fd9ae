"""What a setup is asked for, and what that means beside what is set up already."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from variants.live.debian import STOCK
from variants.live.emulator import LiveError
from variants.live.entries import BASE_SERIES, KERNEL, Entry, canonical, is_kernel
from variants.live.offers import numbers, series_of
from variants.live.patches import KernelPatch, parts, read_patch
from variants.live.semantic import BASE, variant_names
from variants.live.trees import tree_name


@dataclass(frozen=True)
class Request:
    """The options of `live setup`.

    kernels: series (6.12) or versions (6.12.117). tree: a Linux tree. patches: files, to be
    applied to the variant `on`; "" is the tree or, without one, the newest kernel. each: every
    patch of a series as a variant too. mirror: Debian's archive. refresh: look for newer kernels.
    instrument: variants to be had with a callback in each block as well.
    """

    kernels: tuple[str, ...] = ()
    tree: Path | None = None
    patches: tuple[Path, ...] = ()
    on: str = ""
    each: bool = False
    mirror: str | None = None
    refresh: bool = False
    instrument: tuple[str, ...] = ()


@dataclass(frozen=True)
class Base:
    """A kernel to have: Debian's (version: "" is the newest of the series), or a tree's."""

    series: str = ""
    version: str = ""
    tree: str = ""


def bases_of(request: Request, there: Mapping[str, Entry]) -> dict[str, Base]:
    """The kernels to have, by variant, the one that patches go on first.

    there: what is set up. Raises LiveError for what cannot be meant.
    """
    kernels = {name: one for name, one in there.items() if not one.on}
    found = {name: again(name, one) for name, one in kernels.items() if request.refresh}
    asked = asked_for(request.kernels)
    found |= asked
    if request.tree:
        name = tree_name(request.tree)
        if is_kernel(name) or name in variant_names() or (name in there and not there[name].tree):
            raise LiveError(f"{request.tree}: there is a variant {name} already: rename the folder")
        found[name] = Base(tree=str(request.tree.resolve()))
    found.setdefault(BASE, again(BASE, there.get(BASE, Entry("", ""))))
    if not request.patches:
        return found
    on = patches_on(request, {**there, **found})
    if on not in found:
        found[on] = again(on, there.get(on, Entry("", "")))
    return {on: found[on], **found}


def again(name: str, entry: Entry) -> Base:
    """The kernel that a variant is, as it was asked for."""
    if entry.tree:
        return Base(tree=entry.tree)
    return Base(BASE_SERIES if name == BASE else name.removeprefix(KERNEL), entry.pinned)


def asked_for(kernels: Sequence[str]) -> dict[str, Base]:
    """What `--kernel` means, by variant."""
    asked: dict[str, Base] = {}
    for text in kernels:
        series = series_of(text)
        base = Base(series, text if text != series else "")
        name = canonical(KERNEL + series)
        if asked.setdefault(name, base) != base:
            raise LiveError(f"--kernel {text}: another version of {series} is asked for as well")
    return asked


def patches_on(request: Request, known: Mapping[str, Entry | Base]) -> str:
    """The variant that patches are for."""
    if request.tree and not request.on:
        return tree_name(request.tree)
    if not request.on:
        kernels = [name for name in known if is_kernel(name) and can_be_built(known[name])]
        return max(kernels, key=lambda name: numbers(name.removeprefix(KERNEL)), default=BASE)
    on = canonical(request.on)
    entry = known.get(on)
    if isinstance(entry, Entry) and entry.on:
        raise LiveError(f"--on {on}: a change itself; name the kernel that it is for")
    if not entry and not is_kernel(on):
        kernels = [name for name, one in known.items() if isinstance(one, Base) or not one.on]
        meant = f"{KERNEL}{on.removeprefix('v')}"
        which = f"is it {meant}?" if is_kernel(meant) else f"only {', '.join(kernels)}"
        raise LiveError(f"--on {on}: no such kernel, {which}")
    return on


def can_be_built(kernel: Entry | Base) -> bool:
    """Whether a kernel that is set up has its source; of one yet to be had it is assumed."""
    return isinstance(kernel, Base) or not kernel.modules.endswith(f"/{STOCK}")


def patches_of(request: Request, there: Mapping[str, Entry]) -> list[KernelPatch]:
    """The patches to build, parts of series included. Raises LiveError for names that are taken."""
    found: list[KernelPatch] = []
    kernels = asked_for(request.kernels)
    for file in request.patches:
        patch = read_patch(file)
        known = there.get(patch.name)
        taken = {*variant_names(), *kernels, *(one.name for one in found)}
        if patch.name in taken or is_kernel(patch.name):
            raise LiveError(f"{file}: there is a variant {patch.name} already: rename the file")
        if known and known.patch != str(patch.file):
            what = known.patch or known.tree
            raise LiveError(
                f"{file}: variant {patch.name} is of {what}: rename the file, "
                f"or `eventdiff live remove {patch.name}` first"
            )
        found += [patch, *(parts(patch) if request.each else [])]
    return found
