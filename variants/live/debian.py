"""A kernel of Debian's in the cache: what its packages hold that live runs and builds need."""

import json
import lzma
import shutil
from pathlib import Path
from typing import Final

from variants.live.artefacts import Store, execute, key_of, progress
from variants.live.emulator import LiveError
from variants.live.foreign import strangers, unpacked, wrap
from variants.live.kbuild import MODULES
from variants.live.offers import Offer
from variants.live.patches import KVM

STOCK: Final = "stock"
"""The folder of a kernel's own modules."""
ABOUT: Final = "kernel.json"
MAKEFILE: Final = "HERE := $(dir $(abspath $(lastword $(MAKEFILE_LIST))))\n"


def fetch_kernel(store: Store, offer: Offer) -> Path:
    """The kernel's folder: `vmlinuz`, `irqbypass.ko` and `stock`, the image's modules of KVM.

    Where it can be built there are also `source` (KVM's) and `headers` (to build with).
    """
    packages = [*offer.image, *offer.build]
    name = f"linux-{offer.upstream}-{key_of(*(package.digest for package in packages))}"

    def unpack(folder: Path) -> None:
        progress(f"apt: Linux {offer.version}, {offer.size // 1_000_000} MB")
        debs = offer.suite.download(packages)
        progress(f"Linux {offer.version}: unpacking")
        root = folder / "root"
        for deb in debs:
            execute(["dpkg-deb", "-x", deb, root])
        keep_image(folder, root)
        libraries = ""
        if offer.build:
            keep_source(folder, root, offer)
            libraries = make_runnable(store, root, store.place(name) / "root", offer)
        remove_rest(root)
        about = {"version": offer.version, "suite": offer.suite.name}
        (folder / ABOUT).write_text(json.dumps(about | {"libraries": libraries}) + "\n")
        for deb in debs:
            deb.unlink()

    return store.artefact(name, unpack)


def keep_image(folder: Path, root: Path) -> None:
    """The boot image and KVM's modules, wherever the packages have them."""
    images = [file for file in root.rglob("vmlinuz*") if file.is_file()]
    if len(images) != 1:
        raise LiveError(f"the kernel's packages have {len(images)} boot images")
    images[0].rename(folder / "vmlinuz")
    (folder / STOCK).mkdir()
    for module in MODULES:
        keep_module(root, module, folder / STOCK)
    keep_module(root, "irqbypass.ko", folder)


def keep_module(root: Path, name: str, folder: Path) -> None:
    """A module of the packages, unpacked if it is compressed."""
    found = next(root.rglob(f"{name}*"), None)
    if not found:
        raise LiveError(f"the kernel's packages have no {name}")
    data = found.read_bytes()
    if found.suffix == ".xz":
        data = lzma.decompress(data)
    elif found.suffix != ".ko":
        raise LiveError(f"{found.name}: compressed in a way that is not known here")
    (folder / name).write_bytes(data)


def keep_source(folder: Path, root: Path, offer: Offer) -> None:
    """KVM's source, and the headers' folder, which must not name paths of the running system."""
    sources = root / "usr/src"
    name = f"linux-source-{offer.series}"
    parts = [f"{name}/{part}" for part in (KVM, "virt/kvm")]
    execute(["tar", "-xJf", sources / f"{name}.tar.xz", "-C", folder, *parts])
    (folder / name).rename(folder / "source")
    headers = next(sources.glob("linux-headers-*-cloud-amd64"))
    makefile = headers / "Makefile"
    makefile.write_text(MAKEFILE + makefile.read_text().replace("/usr/src/", "$(HERE)../"))
    (folder / "headers").symlink_to(headers.relative_to(folder))


def make_runnable(store: Store, root: Path, final: Path, offer: Offer) -> str:
    """See that this machine can run what the headers bring with them: objtool, modpost, ..

    root: the packages' files. final: where they will be. Returns the folder of the libraries that
    this takes, within the cache; "" for none.
    """
    kbuild = next(package for package in offer.build if package.name.startswith("linux-kbuild-"))
    programs = strangers(root / "usr/lib")
    if not programs:
        return ""
    libraries = unpacked(store, offer.suite.release, "libraries", kbuild.depends)
    for program in programs:
        wrap(program, libraries, final / program.parent.relative_to(root))
    return str(libraries.relative_to(store.folder))


def remove_rest(root: Path) -> None:
    """Remove what is not needed of the packages' files."""
    for left in ("boot", "lib", "usr/share", "usr/lib/modules"):
        shutil.rmtree(root / left, ignore_errors=True)
    for archive in root.glob("usr/src/linux-source-*"):
        archive.unlink()
