"""KVM with some hunks of a patch only, to see which of them it takes."""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event

from variants.live.artefacts import Store, key_of, locked
from variants.live.cache import build_of, cache_folder
from variants.live.emulator import LiveError
from variants.live.entries import Entry, Setup, read_setup
from variants.live.git_apply import Refused, git_apply
from variants.live.hunks import Hunk, diff_of, hunks_of
from variants.live.kbuild import Compiled, build_key, compiled, make_changed
from variants.live.patched import kept_patch
from variants.live.patches import KernelPatch, first_error
from variants.live.runner import Build


def patch_hunks(cache: Path | None, name: str) -> list[Hunk]:
    """The hunks of a patch that is set up. Raises LiveError if there is no such variant."""
    folder = cache_folder(cache).resolve()
    entry = entry_of(read_setup(folder), name)
    return hunks_of(patch_of(folder, entry), folder / entry.kernel)


def hunks_of_patches(cache: Path | None, names: Iterable[str]) -> dict[str, list[Hunk]]:
    """The hunks of those of `names` that are patches. Raises LiveError if nothing is set up."""
    setup = read_setup(cache_folder(cache).resolve())
    entries = {name: setup.entry(name) for name in names}
    return {name: patch_hunks(cache, name) for name, one in entries.items() if one and one.patch}


def subset_builds(
    cache: Path | None, name: str, subsets: Sequence[frozenset[int]]
) -> dict[frozenset[int], Build | str]:
    """A build for each set of hunks, by number, of a patch that is set up: those and no others.

    Instead of one that does not apply or compile, why not, in a line. Builds are kept in the cache
    like any that nothing set up uses. Takes the cache's lock. Raises LiveError if there is no such
    variant, and OSError.
    """
    with locked(cache_folder(cache)) as store:
        setup = read_setup(store.folder)
        entry = entry_of(setup, name)
        kernel = store.folder / entry.kernel
        hunks = hunks_of(patch_of(store.folder, entry), kernel)
        objects = compiled(store, kernel)
        diffs = {subset: diff_of(hunks, subset) for subset in subsets}
        built = build_all(store, objects, list(diffs.values()))

    def result(modules: Path | str) -> Build | str:
        if isinstance(modules, str):
            return modules
        return build_of(store.folder, setup, Entry(entry.kernel, store.within(modules)))

    return {subset: result(built[diff]) for subset, diff in diffs.items()}


def entry_of(setup: Setup, name: str) -> Entry:
    """What is set up under the name of a patch."""
    entry = setup.entry(name)
    if not entry or not entry.patch:
        raise LiveError(f"{name}: no patch of that name is set up")
    return entry


def patch_of(folder: Path, entry: Entry) -> KernelPatch:
    return kept_patch(folder / entry.modules)


def build_all(store: Store, objects: Compiled, diffs: Sequence[str]) -> dict[str, Path | str]:
    """The modules with each diff, or why there are none; as many at a time as there are processors.

    Whatever ends it early, Ctrl-C too, ends the compilers and removes what they have made.
    """
    processors = os.cpu_count() or 1
    jobs = max(1, processors // max(1, len(diffs)))
    stop = Event()
    with ThreadPoolExecutor(processors) as pool:
        futures = {
            diff: pool.submit(build_diff, store, objects, diff, jobs, stop) for diff in diffs
        }
        try:
            for done in wait(futures.values(), return_when=FIRST_EXCEPTION).done:
                done.result()
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
    return {diff: future.result() for diff, future in futures.items()}


def build_diff(store: Store, objects: Compiled, diff: str, jobs: int, stop: Event) -> Path | str:
    """The folder of the modules with a diff of git's; why not if that cannot be."""

    def change(tree: Path, _: Path) -> None:
        if diff:
            git_apply(tree, diff)

    def make(folder: Path) -> None:
        make_changed(objects, folder, change, jobs, stop=stop)

    key = key_of("hunks", diff.encode(errors="surrogateescape"))
    try:
        return store.artefact(f"kvm-hunks-{build_key(objects.kernel, key)}", make)
    except Refused as refused:
        return first_error(refused)
    except LiveError as error:
        return str(error)
