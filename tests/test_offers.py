"""What the mirrors' lists mean, and what a request asks for."""

from pathlib import Path

import pytest

from variants.live.apt import Package, Suite, package_of
from variants.live.emulator import LiveError, Unavailable
from variants.live.entries import Entry, Setup, in_order
from variants.live.offers import Offer, chosen, newest, offers_in, series_of
from variants.live.request import Base, Request, bases_of

SUITE = Suite("trixie", Path("/nowhere"))


def package(name: str, version: str, *depends: str) -> Package:
    return Package(name, version, 1_000_000, name + version, depends)


def whole(version: str, abi: str) -> list[Package]:
    """The packages of a kernel as Debian splits them now."""
    cloud = f"{abi}-cloud-amd64"
    return [
        package(f"linux-image-{cloud}", version, "kmod", f"linux-binary-{cloud}"),
        package(f"linux-binary-{cloud}", version, f"linux-modules-{cloud}"),
        package(f"linux-modules-{cloud}", version, "kmod"),
        package(
            f"linux-headers-{cloud}",
            version,
            *(f"linux-headers-{abi}-common", f"linux-image-{cloud}", f"linux-kbuild-{abi}"),
        ),
        package(f"linux-headers-{abi}-common", version),
        package(f"linux-kbuild-{abi}", version, "libc6"),
        package(f"linux-source-{series_of(version)}", version),
    ]


def names(packages: tuple[Package, ...]) -> set[str]:
    return {one.name for one in packages}


def test_a_kernel_is_what_its_packages_need() -> None:
    (offer,) = offers_in(SUITE, whole("7.3.4-1", "7.3.4+deb13"))
    assert (offer.series, offer.upstream, offer.abi) == ("7.3", "7.3.4", "7.3.4+deb13")
    assert names(offer.image) == {
        f"linux-{part}-7.3.4+deb13-cloud-amd64" for part in ("image", "binary", "modules")
    }
    assert names(offer.build) == {
        *("linux-source-7.3", "linux-headers-7.3.4+deb13-cloud-amd64"),
        *("linux-headers-7.3.4+deb13-common", "linux-kbuild-7.3.4+deb13"),
    }
    assert offer.size == 7_000_000


@pytest.mark.parametrize("missing", ["linux-source-", "linux-kbuild-", "linux-headers-"])
def test_an_image_without_all_that_a_build_takes(missing: str) -> None:
    there = [one for one in whole("6.18.1-1", "6.18.1") if not one.name.startswith(missing)]
    (offer,) = offers_in(SUITE, there)
    assert offer.image
    assert not offer.build


def test_an_image_that_lacks_a_part_is_no_offer() -> None:
    there = [one for one in whole("7.3.4-1", "7.3.4") if "-modules-" not in one.name]
    assert offers_in(SUITE, there) == []


def test_a_package_as_apt_shows_it() -> None:
    shown = {
        "Package": "linux-headers-7",
        "Version": "7-1",
        "Size": "12",
        "SHA256": "ab",
        "Depends": "linux-base (>= 4.12~), gcc-14 | gcc-13, linux-headers-7-common (= 7-1)",
    }
    depends = ("linux-base", "gcc-14", "gcc-13", "linux-headers-7-common")
    assert package_of(shown) == Package("linux-headers-7", "7-1", 12, "ab", depends)


def offer(version: str, source: bool) -> Offer:
    build = (package("linux-source", version),) if source else ()
    return Offer(version, version.split("-")[0], SUITE, (package("linux-image", version),), build)


OFFERS = [
    offer("6.12.9-1", source=True),
    offer("6.12.117-1~deb12u1", source=True),
    offer("6.12.117-1", source=True),
    offer("6.12.118-1", source=False),
    offer("6.18.15-1", source=False),
]


def test_the_newest_of_a_series_with_source_or_a_certain_version() -> None:
    assert chosen(OFFERS, "6.12").version == "6.12.117-1"
    assert chosen(OFFERS, "6.12.118").version == "6.12.118-1"
    assert chosen(OFFERS, "6.12.117-1~deb12u1").version == "6.12.117-1~deb12u1"
    assert chosen(OFFERS, "6.18").version == "6.18.15-1"
    versions = [one.version for one in newest(OFFERS)]
    assert versions[:3] == ["6.18.15-1", "6.12.118-1", "6.12.117-1"]
    with pytest.raises(Unavailable, match=r"no Linux 6\.19, only 6\.12, 6\.18"):
        chosen(OFFERS, "6.19")
    with pytest.raises(LiveError, match="no version of Linux"):
        chosen(OFFERS, series_of("newest"))


THERE = {
    "original": Entry("k5", "m5"),
    "yadong": Entry("k5", "my", on="original"),
    "linux-6.12": Entry("k6", "m6"),
    "linux-6.18": Entry("k8", "k8/stock"),
    "mine": Entry("k6", "mm", on="linux-6.12", patch="/mine.patch"),
}


def test_what_a_request_asks_for() -> None:
    assert bases_of(Request(), {}) == {"original": Base("5.10")}
    assert list(bases_of(Request(refresh=True), THERE)) == ["original", "linux-6.12", "linux-6.18"]
    asked = bases_of(Request(kernels=("6.12.117", "5.10")), {})
    assert asked == {"linux-6.12": Base("6.12", "6.12.117"), "original": Base("5.10")}
    with pytest.raises(LiveError, match=r"another version of 6\.12"):
        bases_of(Request(kernels=("6.12.117", "6.12")), {})
    patch = (Path("x.patch"),)
    newest_with_source = bases_of(Request(patches=patch), THERE)
    assert next(iter(newest_with_source)) == "linux-6.12"
    assert next(iter(bases_of(Request(patches=patch, kernels=("7.3",)), THERE))) == "linux-7.3"
    assert next(iter(bases_of(Request(patches=patch, on="linux-5.10"), THERE))) == "original"
    assert bases_of(Request(patches=patch, on="linux-6.1"), THERE)["linux-6.1"] == Base("6.1")
    for on, why in (("mine", "a change itself"), ("nothing", "no such kernel")):
        with pytest.raises(LiveError, match=why):
            bases_of(Request(patches=patch, on=on), THERE)


def test_what_is_set_up_in_order_and_by_its_names() -> None:
    name = "linux-source-6.1"
    mixed = {name: Entry("t", "t/stock", tree="/t"), **dict(reversed(THERE.items()))}
    order = ["original", "yadong", "linux-6.12", "mine", "linux-6.18", name]
    assert list(in_order(mixed)) == order
    setup = Setup("agent", "key", "", mixed)
    assert setup.entry("linux-5.10") == setup.entry("original") == THERE["original"]
    assert setup.entry("linux-6.12@stock") == Entry("k6", "k6/stock")
    assert setup.entry("mine@stock") is setup.entry("linux-7.3") is None
