"""`eventdiff live setup`: bring everything that live runs need into the cache."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from variants.catalogue import BUILT_IN
from variants.live.agent_build import agent_key, build_agent
from variants.live.apt import Suite, suites
from variants.live.artefacts import Store, key_of, locked
from variants.live.bochs import newer_bochs
from variants.live.cache import build_of, cache_folder
from variants.live.debian import STOCK, fetch_kernel
from variants.live.emulator import LiveError
from variants.live.entries import (
    SETUP,
    Entry,
    Setup,
    canonical,
    in_order,
    read_setup,
    setup_text,
    version_of,
)
from variants.live.entries import STOCK as CAME_WITH
from variants.live.inside import SUFFIX, build_instrumented, objects_to_trace, read_blocks
from variants.live.kbuild import build_modules
from variants.live.offers import Offer, chosen, offers_of
from variants.live.patched import build_patched, kept_patch, said_of
from variants.live.patches import KernelPatch, apply_patch, patch_key
from variants.live.request import Base, Request, bases_of, patches_of
from variants.live.requirements import check_machine
from variants.live.runner import Build
from variants.live.semantic import BASE, build_variant, source_key, transform, variant_names
from variants.live.storage import bound
from variants.live.subsets import entry_of
from variants.live.trees import kernel_of_tree

Offers = Callable[[], list[Offer]]
Trial = Callable[[Mapping[str, Build]], tuple[int, list[str]]]
"""Runs schedules on builds: how many, and the names of those in which these differ."""


def set_up(chosen_cache: Path | None, request: Request, trial: Trial) -> Iterator[str]:
    """Fill the cache; yields lines that say what is there when it is.

    What was set up before stays. trial: what a rebuilt kernel must pass beside the modules that it
    came with. Raises LiveError and OSError; then what is set up is what it was before.
    """
    start = time.monotonic()
    check_machine()
    with locked(cache_folder(chosen_cache)) as store:
        there = before(store)
        patches = patches_of(request, there)
        bases = bases_of(request, there)
        named = {*there, *bases, *variant_names(), *(patch.name for patch in patches)}
        for name in request.instrument:
            if canonical(name) not in named:
                raise LiveError(
                    f"--instrument {name}: no such variant, only {', '.join(sorted(named))}"
                )

        @cache
        def mirror() -> list[Suite]:
            return suites(store.folder / "apt", request.mirror)

        @cache
        def offers() -> list[Offer]:
            return [offer for suite in mirror() for offer in offers_of(suite)]

        variants = dict(there)
        agent = build_agent(store)
        bochs = newer_bochs(store, mirror)
        setup = Setup(
            store.within(agent / "agent"),
            agent_key(),
            store.within(bochs) if bochs else "",
            variants,
        )
        for number, (name, base) in enumerate(bases.items()):
            kernel = kernel_of(store, name, base, there.get(name), request.refresh, offers)
            # The user's own first: whether it applies and compiles is what they wait for.
            for patch in patches if number == 0 else ():
                yield from add_patch(store, variants, patch, name, kernel)
            entry = base_entry(store, name, base, kernel)
            yield from tried(store, setup, name, entry, trial)
            variants[name] = entry
            for patch in outdated(store, variants, name):
                yield from add_patch(store, variants, patch, name, kernel)
            if name == BASE:
                variants |= own_entries(store, kernel)
        variants = in_order(variants)
        setup = Setup(setup.agent, setup.agent_key, setup.bochs, variants)
        for name in request.instrument:
            yield from instrumented(store, setup, canonical(name), trial)
        store.record(SETUP, setup_text(setup))
        yield f"ready: {', '.join(variants)} ({time.monotonic() - start:.0f} s)"
        yield bound(store, setup)


def before(store: Store) -> dict[str, Entry]:
    """What is set up; nothing if that cannot be read."""
    try:
        return dict(read_setup(store.folder).variants)
    except LiveError:
        return {}


def kernel_of(
    store: Store, name: str, base: Base, there: Entry | None, refresh: bool, offers: Offers
) -> Path:
    """The folder of a kernel to have; of the mirror only if it is not in the cache."""
    if base.tree:
        return kernel_of_tree(store, name, Path(base.tree), offers)
    if there and not refresh and there.pinned == base.version:
        found = store.folder / there.kernel
        if found.exists():
            return found
    return fetch_kernel(store, chosen(offers(), base.version or base.series))


def base_entry(store: Store, name: str, base: Base, kernel: Path) -> Entry:
    """A kernel as a variant: rebuilt, as what is built on it is, if there is something to build."""
    source = source_key(BASE)
    modules = kernel / STOCK
    if (kernel / "source").is_dir() and not (base.tree and modules.is_dir()):
        modules = build_modules(store, name, kernel, source, lambda tree, folder: None)
    return Entry(
        store.within(kernel), store.within(modules), source, tree=base.tree, pinned=base.version
    )


def own_entries(store: Store, kernel: Path) -> dict[str, Entry]:
    """The project's variants of the base."""
    found = {}
    for name in sorted(set(variant_names()) - {BASE}, key=BUILT_IN.index):
        modules = build_variant(store, name, kernel)
        found[name] = Entry(store.within(kernel), store.within(modules), source_key(name), on=BASE)
    return found


def tried(store: Store, setup: Setup, name: str, entry: Entry, trial: Trial) -> Iterator[str]:
    """Hold a rebuilt kernel against the modules that it came with.

    Raises LiveError if they part.
    """
    kernel = store.folder / entry.kernel
    stock = Entry(entry.kernel, f"{entry.kernel}/{STOCK}")
    if entry.modules == stock.modules or not (store.folder / stock.modules).is_dir():
        yield f"{name}: Linux {version_of(kernel)}{'' if entry.tree else ', as it came'}"
        return
    pair = {f"{name}{CAME_WITH}": stock, name: entry}
    told = alike(store, setup, pair, "the modules it came with", trial)
    yield f"{name}: Linux {version_of(kernel)}, rebuilt: {told}"


def alike(store: Store, setup: Setup, pair: Mapping[str, Entry], model: str, trial: Trial) -> str:
    """Hold a build, the second, against that which it is to be like; tried once.

    model: what the first is called. Raises LiveError if they part.
    """
    name, entry = list(pair.items())[1]
    kernel = store.folder / entry.kernel

    def run(folder: Path) -> None:
        builds = {one: build_of(store.folder, setup, of) for one, of in pair.items()}
        count, differing = trial(builds)
        if differing:
            raise LiveError(
                f"{name}: Linux {version_of(kernel)} rebuilt is not what it was: "
                f"{len(differing)} of {count} schedules differ, {differing[0]} for one"
            )
        (folder / "told").write_text(f"0 of {count} schedules differ from {model}")

    rebuilt = (Path(of.modules).name for of in pair.values())
    key = key_of(kernel.name, *(one for one in rebuilt if one != STOCK))
    return (store.artefact(f"trial-{key}", run) / "told").read_text()


def instrumented(store: Store, setup: Setup, name: str, trial: Trial) -> Iterator[str]:
    """Build a variant with a callback in each block, and hold it against the one without.

    Raises LiveError if it has no source, or the two part.
    """
    entry = setup.variants[name]
    kernel, plain = store.folder / entry.kernel, store.folder / entry.modules
    if not (kernel / "source").is_dir():
        raise LiveError(f"--instrument {name}: an image without source; see `live kernels`")
    modules = build_instrumented(store, name, kernel, plain, change_of(store, name, entry))
    pair = {name: entry, f"{name}{SUFFIX}": replace(entry, modules=store.within(modules))}
    told = alike(store, setup, pair, name, trial)
    yield f"{name}{SUFFIX}: {len(read_blocks(modules))} blocks; {told}"


def instrumented_patch(chosen_cache: Path | None, name: str, files: Iterable[str]) -> Build:
    """A patch, that is set up, with a callback in each block, those of `files` included.

    Nothing has held it against the plain build. Takes the cache's lock. Raises LiveError, OSError.
    """
    with locked(cache_folder(chosen_cache)) as store:
        setup = read_setup(store.folder)
        entry = entry_of(setup, name)
        kernel, plain = store.folder / entry.kernel, store.folder / entry.modules
        change = change_of(store, name, entry)
        traced = objects_to_trace(files)
        modules = build_instrumented(store, name, kernel, plain, change, traced)
        return build_of(store.folder, setup, replace(entry, modules=store.within(modules)))


def change_of(store: Store, name: str, entry: Entry) -> Callable[[Path, Path], None]:
    """What a variant's build does to KVM's source, to do it again."""
    kernel = store.folder / entry.kernel

    def change(tree: Path, _: Path) -> None:
        if entry.patch:
            patch = kept_patch(store.folder / entry.modules)
            apply_patch(patch, tree, store.log(f"patch-{name}"))
        elif entry.on:
            transform(store, name, kernel / "source", tree)

    return change


def add_patch(
    store: Store, variants: dict[str, Entry], patch: KernelPatch, on: str, kernel: Path
) -> Iterator[str]:
    """Build a patch on a kernel."""
    if not (kernel / "source").is_dir():
        raise LiveError(f"{patch.file}: {on} is an image without source; see `live kernels`, --on")
    modules = build_patched(store, patch, kernel)
    old = variants.get(patch.name)
    if old and old.on != on:
        yield f"{patch.name}: was on {old.on}, is on {on} now"
    variants[patch.name] = Entry(
        store.within(kernel),
        store.within(modules),
        patch_key(patch),
        on=on,
        patch=str(patch.file),
    )
    yield from said_of(patch.name, modules)


def outdated(store: Store, variants: Mapping[str, Entry], on: str) -> list[KernelPatch]:
    """The patches whose kernel is another now than the one that they were built on."""
    return [
        replace(kept_patch(store.folder / entry.modules), name=name)
        for name, entry in variants.items()
        if entry.patch and entry.on == on and entry.kernel != variants[on].kernel
    ]
