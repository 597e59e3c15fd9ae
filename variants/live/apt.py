"""Debian's archive, a suite at a time, each with an apt root of its own; signatures checked."""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from variants.live.artefacts import execute, progress
from variants.live.emulator import LiveError, Unavailable

RELEASES: Final = ("bullseye", "bookworm", "trixie", "forky", "sid")
"""Debian's releases since the one with Linux 5.10."""
POCKETS: Final = ("", "-security", "-backports")
KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# A suite that has closed has a Release file out of date; its signature is as good as ever.
SOURCE: Final = "deb [arch=amd64 signed-by={keyring} check-valid-until=no] {uri} {suite} main\n"
CONFIGURATION: Final = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Default-Release "";
APT::Install-Recommends "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::Languages "none";
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
NO_SUCH_SUITE: Final = "does not have a Release file"
NOT_TO_BE_HAD: Final = re.compile(
    r"resolving '|resolve '|[Cc]onnect|Network is unreachable|No route to host"
    r"|timed out|Error reading from server|require authentication|[45]\d\d  [A-Z]"
    rf"|{NO_SUCH_SUITE}|File not found|Unable to locate package"
    r"|No packages found|Version '.*' for '.*' was not found"
)
"""How apt says that a mirror cannot be reached or has no such file."""
FIELD: Final = re.compile(r"^([A-Z][A-Za-z0-9-]*): (.*)$", re.MULTILINE)
INSTALLED: Final = re.compile(r"^Inst (\S+) \((\S+)", re.MULTILINE)
"""How apt says what it would install."""
IDENTITY: Final = ("Package", "Version", "Size", "SHA256")
ALTERNATIVES: Final = re.compile(r"[,|]\s*")


@dataclass(frozen=True)
class Package:
    """A package that a suite has. size, digest: of its file, in bytes, SHA-256.

    depends: names of packages.
    """

    name: str
    version: str
    size: int
    digest: str
    depends: tuple[str, ...]


@dataclass(frozen=True)
class Suite:
    """apt for one suite; nothing of the machine's packages is read or changed."""

    name: str
    root: Path

    @property
    def release(self) -> "Suite":
        """The suite of the whole release that this one is a pocket of."""
        name = self.name.split("-")[0]
        return Suite(name, self.root.parent / name)

    def run(self, tool: str, *arguments: str, folder: Path | None = None) -> str:
        """What the tool prints. Raises Unavailable if the mirror cannot be reached or lacks a file.

        Anything else that fails is a LiveError: a wrong signature, a full disk.
        """
        try:
            return execute([tool, "-c", self.root / "apt.conf", *arguments], folder=folder)
        except LiveError as error:
            if NOT_TO_BE_HAD.search(str(error)):
                raise Unavailable(str(error)) from None
            raise

    def names(self, prefix: str) -> list[str]:
        """The names of the packages that begin so."""
        return sorted(self.run("apt-cache", "pkgnames", prefix).split())

    def packages(self, names: Sequence[str]) -> list[Package]:
        """All versions of the packages named."""
        if not names:
            return []
        shown = self.run("apt-cache", "show", "--all-versions", *names)
        return [package_of(dict(FIELD.findall(one))) for one in shown.split("\n\n") if one.strip()]

    def download(self, wanted: Sequence[Package]) -> list[Path]:
        """The packages' files, in the suite's folder `debs`; what is there is not fetched again."""
        debs = self.root / "debs"
        debs.mkdir(exist_ok=True)
        named = [f"{package.name}={package.version}" for package in wanted]
        self.run("apt-get", "download", *named, folder=debs)
        return [deb_of(debs, package) for package in wanted]

    def closure(self, names: Sequence[str]) -> list[Package]:
        """The packages named and all that they need on a machine with nothing."""
        said = self.run("apt-get", "--yes", "--simulate", "install", *names)
        wanted = set(INSTALLED.findall(said))
        known = self.packages(sorted(name for name, _ in wanted))
        return [package for package in known if (package.name, package.version) in wanted]


def package_of(fields: dict[str, str]) -> Package:
    names = ALTERNATIVES.split(fields.get("Depends", ""))
    depends = tuple(name.split()[0] for name in names if name)
    name, version, size, digest = (fields[key] for key in IDENTITY)
    return Package(name, version, int(size), digest, depends)


def deb_of(folder: Path, package: Package) -> Path:
    marker = package.version.replace(":", "%3a")
    return next(folder.glob(f"{package.name}_{marker}_*.deb"))


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


def root_of(folder: Path, name: str, uri: str) -> Suite:
    """An apt root for the suite of that name."""
    root = folder / name
    for part in ("state", "lists/partial", "cache/archives/partial"):
        (root / part).mkdir(parents=True, exist_ok=True)
    (root / "status").touch()
    (root / "sources.list").write_text(SOURCE.format(keyring=KEYRING, uri=uri, suite=name))
    (root / "apt.conf").write_text(CONFIGURATION.format(root=root))
    return Suite(name, root)


def suites(folder: Path, mirror: str | None) -> list[Suite]:
    """The suites that the mirror has, their lists up to date, with roots in `folder`.

    Raises Unavailable if it cannot be reached or has none, LiveError for a wrong signature.
    """
    if not KEYRING.exists():
        raise Unavailable(f"{KEYRING} is missing: apt-get install debian-archive-keyring")
    main, security = mirrors(mirror)
    progress(f"apt: what the suites {RELEASES[0]} to {RELEASES[-1]} have")
    wanted = [
        root_of(folder, release + pocket, security if pocket == "-security" else main)
        for release in RELEASES
        for pocket in POCKETS
    ]
    with ThreadPoolExecutor(max_workers=4) as pool:
        found = list(pool.map(is_there, wanted))
    there = [suite for suite, one in zip(wanted, found, strict=True) if one]
    if not there:
        raise Unavailable("the mirror has none of Debian's suites")
    return there


def is_there(suite: Suite) -> bool:
    """Bring the suite's lists up to date; False if the mirror does not have it."""
    try:
        suite.run("apt-get", "update", "--error-on=any")
    except Unavailable as error:
        if NO_SUCH_SUITE in str(error):
            return False
        raise
    return True
