"""Debian's kernel packages, through a private apt root in the cache, signatures checked."""

import hashlib
import re
import shutil
from pathlib import Path
from typing import Final

from variants.live.artefacts import Store, execute, key_of, progress
from variants.live.emulator import LiveError, Unavailable

SERIES: Final = "5.10"
SUITE: Final = "bullseye"
KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# The suites are closed, so the dates of their Release files run out; the signatures do not.
SOURCE: Final = "deb [arch=amd64 signed-by={keyring} check-valid-until=no] {uri} {suite} main\n"
CONFIGURATION: Final = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Default-Release "";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::Retries "3";
APT::Get::AllowUnauthenticated "false";
Dir::State "{root}/state";
Dir::State::status "{root}/status";
Dir::State::lists "{root}/lists";
Dir::Cache "{root}/cache";
Dir::Etc::SourceList "{root}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::Etc::Trusted "/dev/null";
Dir::Etc::TrustedParts "/dev/null";
// apt's own user may not reach the cache
APT::Sandbox::User "root";
"""
SUITE_URI: Final = re.compile(r"^'(\S+?)/?/dists/(\S+)/InRelease'")
HEADERS: Final = re.compile(r"linux-headers-(5\.10\.\d+-\d+)-cloud-amd64")
NOT_TO_BE_HAD: Final = re.compile(
    r"resolving '|resolve '|[Cc]onnect|Network is unreachable|No route to host"
    r"|timed out|Error reading from server|require authentication|[45]\d\d  [A-Z]"
    r"|does not have a Release file|File not found|Unable to locate package"
    r"|No packages found|Version '.*' for '.*' was not found"
)
"""How apt says that a mirror cannot be reached or has no such file."""
PARTS: Final = ("image", "headers")
FIXED: Final = (f"linux-source-{SERIES}", f"linux-kbuild-{SERIES}")


def mirrors(chosen: str | None) -> tuple[str, str]:
    """The archive and the security archive: of `--mirror`, else of the machine's own apt."""
    if chosen:
        return chosen.rstrip("/"), chosen.rstrip("/") + "-security"
    main = security = ""
    for line in execute(["apt-get", "update", "--print-uris"]).splitlines():
        found = SUITE_URI.match(line)
        if not found or "debian" not in found[1].lower():
            continue
        if found[2].endswith(("-security", "/updates")):
            security = security or found[1]
        else:
            main = main or found[1]
    if not main:
        raise Unavailable("this machine's apt names no Debian mirror: give one with --mirror URL")
    return main, security or main + "-security"


class Apt:
    """apt with a root of its own: nothing of the machine's packages is read or changed."""

    def __init__(self, store: Store, mirror: str | None) -> None:
        if not KEYRING.exists():
            raise Unavailable(f"{KEYRING} is missing: apt-get install debian-archive-keyring")
        root = store.folder / "apt"
        for part in ("state", "lists/partial", "cache/archives/partial", "debs"):
            (root / part).mkdir(parents=True, exist_ok=True)
        (root / "status").touch()
        main, security = mirrors(mirror)
        (root / "sources.list").write_text(
            SOURCE.format(keyring=KEYRING, uri=main, suite=SUITE)
            + SOURCE.format(keyring=KEYRING, uri=security, suite=f"{SUITE}-security")
        )
        self.configuration = root / "apt.conf"
        self.configuration.write_text(CONFIGURATION.format(root=root))
        self.debs = root / "debs"

    def run(self, tool: str, *arguments: str, folder: Path | None = None) -> str:
        """What the tool prints. Raises Unavailable if the mirror cannot be reached or lacks a file.

        Anything else that fails is a LiveError: a wrong signature, a full disk.
        """
        try:
            return execute([tool, "-c", self.configuration, *arguments], folder=folder)
        except LiveError as error:
            if NOT_TO_BE_HAD.search(str(error)):
                raise Unavailable(str(error)) from None
            raise

    def offered(self) -> tuple[str, str]:
        """The newest version of which source, image and headers are there, and its ABI name."""
        headers = self.run("apt-cache", "pkgnames", f"linux-headers-{SERIES}").split()
        abis = [found[1] for name in headers if (found := HEADERS.fullmatch(name))]
        names = [FIXED[0], *(f"linux-{part}-{abi}-cloud-amd64" for abi in abis for part in PARTS)]
        versions: dict[str, list[str]] = {}
        for line in self.run("apt-cache", "madison", *names).splitlines():
            name, version, _ = (part.strip() for part in line.split("|"))
            versions.setdefault(name, []).append(version)
        for version in versions.get(FIXED[0], []):
            for abi in abis:
                wanted = [f"linux-{part}-{abi}-cloud-amd64" for part in PARTS]
                if all(version in versions.get(name, ()) for name in wanted):
                    return version, abi
        raise Unavailable(f"the mirror has no {FIXED[0]} with a cloud image and headers to match")

    def download(self) -> tuple[list[Path], str]:
        """The packages' files, and the ABI name of their kernel."""
        progress(f"apt: lists of {SUITE}")
        self.run("apt-get", "update", "--error-on=any")
        version, abi = self.offered()
        names = [*FIXED, *(f"linux-{part}-{abi}-cloud-amd64" for part in PARTS)]
        names.append(f"linux-headers-{abi}-common")
        progress(f"apt: Linux {version} ({abi}), about 155 MB")
        self.run("apt-get", "download", *(f"{name}={version}" for name in names), folder=self.debs)
        marker = version.replace(":", "%3a")
        found = [next(self.debs.glob(f"{name}_{marker}_*.deb")) for name in sorted(names)]
        return found, abi


def fetch_kernel(store: Store, mirror: str | None) -> Path:
    """A folder with `vmlinuz`, `irqbypass.ko`, `source` (KVM's) and `headers` (to build with)."""
    apt = Apt(store, mirror)
    packages, abi = apt.download()
    digests = [hashlib.sha256(package.read_bytes()).hexdigest() for package in packages]

    def unpack(folder: Path) -> None:
        progress("unpacking the kernel packages")
        for package in packages:
            execute(["dpkg-deb", "-x", package, folder / "root"])
        extract(folder, abi)

    found = store.artefact(f"linux-{abi}-{key_of(*digests)}", unpack)
    shutil.rmtree(apt.debs)
    return found


def extract(folder: Path, abi: str) -> None:
    """From the packages' files in `folder`/root: what is needed, the rest removed."""
    root = folder / "root"
    sources = root / "usr/src"
    kvm = [f"linux-source-{SERIES}/{part}" for part in ("arch/x86/kvm", "virt/kvm")]
    execute(["tar", "-xJf", sources / f"linux-source-{SERIES}.tar.xz", "-C", folder, *kvm])
    (folder / f"linux-source-{SERIES}").rename(folder / "source")
    (root / f"boot/vmlinuz-{abi}-cloud-amd64").rename(folder / "vmlinuz")
    modules = root / f"lib/modules/{abi}-cloud-amd64"
    (modules / "kernel/virt/lib/irqbypass.ko").rename(folder / "irqbypass.ko")
    headers = sources / f"linux-headers-{abi}-cloud-amd64"
    # The package's Makefile names a path of the running system.
    (headers / "Makefile").write_text(
        f"include $(dir $(lastword $(MAKEFILE_LIST)))../linux-headers-{abi}-common/Makefile\n"
    )
    (folder / "headers").symlink_to(headers.relative_to(folder))
    shutil.rmtree(root / "lib")
    for left in sources.glob("*.xz"):
        left.unlink()
