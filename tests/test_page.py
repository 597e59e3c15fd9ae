"""The page as readers meet it: in Chromium, on a phone, without JavaScript, by keyboard."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from fuzz.compare.signature import Form, Signature
from fuzz.page.page import page, write_page
from fuzz.page.read import FolderError, found_in, read_ran
from fuzz.report.folder import Outcome, write_form, write_summary
from fuzz.report.replay import automaton_of
from fuzz.schedule.text import dump, load
from variants.catalogue import choose
from variants.machine.step import VENDORS

ROOT: Final = Path(__file__).parent.parent
GOLDEN: Final = sorted((ROOT / "corpus" / "golden").glob("*.yaml"))
AXE: Final = ROOT / "tests" / "axe" / "axe.min.js"
CHROMIUM: Final = shutil.which("chromium")
WIDTHS: Final = (360, 1280)
SAMPLES: Final = ((0.5, 10, 0, 0), (1.5, 900, 7, 300), (9.0, 9000, 20, 900))

in_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium here (Debian: apt-get install $(cat tools/page-packages))"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a campaign leaves that found all the golden signatures."""
    out = tmp_path_factory.mktemp("campaign")
    automata = {vendor: automaton_of(vendor, choose("", [])) for vendor in VENDORS}
    forms: dict[Signature, Form] = {}
    for path in GOLDEN:
        schedule = load(path.read_text())
        for at, one in automata[schedule.vendor].compare(schedule):
            if at == len(schedule.steps) - 1:
                forms.setdefault(one.signature, Form(one, schedule))
    for form in forms.values():
        write_form(out, automata[form.schedule.vendor], form, [])
    write_summary(out, Outcome(9000, 9.0, list(forms.values()), [], {}), [])
    names = ("seconds", "schedules", "signatures", "coverage")
    lines = [json.dumps(dict(zip(names, one, strict=True))) for one in SAMPLES]
    (out / "statistics.jsonl").write_text("".join(f"{line}\n" for line in lines))
    ran = read_ran(out)
    write_page(out, ran, found_in(ran))
    return out


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM)
        yield started
        started.close()


@pytest.fixture
def opened(browser: Browser, folder: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page in a window as the test's parameter says, all of it unfolded."""
    given = {"viewport": {"width": 1280, "height": 900}, **getattr(request, "param", {})}
    context = browser.new_context(**given)
    shown = context.new_page()
    shown.goto((folder / "index.html").as_uri())
    yield shown
    context.close()


def windows() -> list[Any]:
    return [
        pytest.param(
            {"viewport": {"width": width, "height": 800}, "color_scheme": scheme},
            id=f"{width}-{scheme}",
        )
        for width in WIDTHS
        for scheme in ("light", "dark")
    ]


def unfold(shown: Page) -> None:
    for details in shown.locator("details").all():
        details.evaluate("one => { one.open = true }")


@in_chromium
def test_it_asks_for_nothing_and_complains_of_nothing(browser: Browser, folder: Path) -> None:
    context = browser.new_context(offline=True)
    shown = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    shown.on("console", lambda message: said.append(message.text))
    shown.on("pageerror", lambda error: said.append(str(error)))
    shown.on("request", lambda request: asked.append(request.url))
    own = (folder / "index.html").as_uri()
    shown.goto(own)
    unfold(shown)
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [own]
    context.close()


@in_chromium
@pytest.mark.parametrize("opened", windows(), indirect=True)
def test_nothing_is_wider_than_the_window(opened: Page) -> None:
    unfold(opened)
    width, window = opened.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width <= window


@in_chromium
@pytest.mark.parametrize("opened", windows(), indirect=True)
def test_axe_finds_no_fault(opened: Page) -> None:
    """Contrast, roles, names, order of headings, what can be reached by keyboard."""
    unfold(opened)
    opened.evaluate(AXE.read_text())
    found = opened.evaluate("axe.run(document, {resultTypes: ['violations']})")
    faults = {
        one["id"]: [node["html"][:200] for node in one["nodes"]] for one in found["violations"]
    }
    assert faults == {}


@in_chromium
def test_links_lead_somewhere(opened: Page, folder: Path) -> None:
    links = opened.eval_on_selector_all("a", "all => all.map(one => one.getAttribute('href'))")
    assert len(links) > len(GOLDEN) // 2
    for link in links:
        if link.startswith("#"):
            assert opened.locator(link).count() == 1, link
        else:
            assert (folder / link).is_file(), link


@in_chromium
def test_the_filter_works_by_keyboard(opened: Page) -> None:
    findings = opened.locator("article")
    every = findings.count()
    assert opened.locator("#count").inner_text() == f"{every} of {every} findings"
    opened.keyboard.press("/")
    opened.keyboard.type("regression Yadong svm")
    shown = [one.inner_text().lower() for one in findings.all() if one.is_visible()]
    assert 0 < len(shown) < every
    assert all(word in text for text in shown for word in ("regression", "yadong", "svm"))
    assert opened.locator("#count").inner_text() == f"{len(shown)} of {every} findings"
    opened.keyboard.press("Escape")
    assert sum(one.is_visible() for one in findings.all()) == every


@in_chromium
def test_a_link_shows_a_finding_that_is_filtered_away(opened: Page) -> None:
    opened.keyboard.press("/")
    opened.keyboard.type("fix")
    link = opened.locator(".card a").first
    finding = opened.locator(link.get_attribute("href") or "")
    assert not finding.is_visible()
    link.click()
    finding.wait_for(state="visible")


@in_chromium
@pytest.mark.parametrize("opened", [{"java_script_enabled": False}], indirect=True)
def test_without_javascript_all_is_there(opened: Page, folder: Path) -> None:
    assert not opened.locator(".filter").is_visible()
    every = opened.locator("article")
    assert every.count() == len(found_in(read_ran(folder)))
    assert all(one.is_visible() for one in every.all())
    opened.locator("summary").first.click()
    assert opened.locator("details pre").first.is_visible()


@in_chromium
def test_no_text_in_a_diagram_covers_another_or_sticks_out(opened: Page) -> None:
    wrong = opened.evaluate(
        """() => [...document.querySelectorAll("svg")].flatMap((svg) => {
            const box = svg.viewBox.baseVal;
            const texts = [...svg.querySelectorAll("text")].map((one) => [one, one.getBBox()]);
            const out = texts.filter(([, b]) => b.x < 0 || b.x + b.width > box.width
                || b.y < 0 || b.y + b.height > box.height);
            const over = texts.filter(([, a], n) => texts.slice(0, n).some(([, b]) =>
                a.x < b.x + b.width && b.x < a.x + a.width
                && a.y + 1 < b.y + b.height && b.y + 1 < a.y + a.height));
            return [...out, ...over].map(([one]) => `${svg.querySelector("title").textContent}: `
                + one.textContent);
        })"""
    )
    assert wrong == []


@in_chromium
def test_each_diagram_tells_its_story_in_words(opened: Page) -> None:
    diagrams = opened.locator("svg[role=img]")
    assert diagrams.count() == opened.locator("svg").count()
    for one in diagrams.all():
        ids = (one.get_attribute("aria-labelledby") or "").split()
        assert all(opened.locator(f"#{name}").count() == 1 for name in ids)
    assert opened.locator("figure").count() >= 2 * opened.locator("article").count()
    for desc in opened.locator("figure desc").all():
        assert "vCPU" in (desc.text_content() or "")
    for article in opened.locator("article").all():
        assert "the variants part here" in (article.locator(".panels").text_content() or "")


def test_who_breaks_what(folder: Path) -> None:
    """The claims of the mail, each in a finding of its own, ahead of all that is no regression."""
    found = found_in(read_ran(folder))
    told = [
        (one.ruling, vendor, name, rule)
        for one in found
        for vendor, judged in one.by_vendor.items()
        if one.ruling == "regression"
        for name, rules in judged.broken.items()
        for rule in rules
    ]
    assert ("regression", "svm", "yadong", "sipi-kept") in told
    assert ("regression", "svm", "paolo", "sipi-kept") in told
    assert ("regression", "vmx", "paolo", "sipi-kept") in told
    assert ("regression", "vmx", "yadong", "vmx-exit-activity") in told
    regressions = [one.ruling == "regression" for one in found]
    assert regressions == sorted(regressions, reverse=True)


def test_what_a_schedule_says_is_text(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    for path in copy.glob("*/reproducer.yaml"):
        named = load(path.read_text())._replace(name="<script>alert(1)</script>", about='"><b>')
        path.write_text(dump(named))
    ran = read_ran(copy)
    text = page(ran, found_in(ran))
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text


@pytest.mark.parametrize(
    ("name", "text"), [("campaign.json", "{}"), ("certificate.json", "none"), ("other", "")]
)
def test_a_folder_of_something_else_is_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(FolderError, match=str(tmp_path)):
        read_ran(tmp_path)


def test_a_campaign_that_found_nothing_has_a_page_too(tmp_path: Path) -> None:
    write_summary(tmp_path, Outcome(0, 0.0, [], [], {}), ["--variants", "original,yadong"])
    line = {"seconds": 0.2, "schedules": 0, "signatures": 0, "coverage": 0}
    (tmp_path / "statistics.jsonl").write_text(f"{json.dumps(line)}\n")
    ran = read_ran(tmp_path)
    text = page(ran, found_in(ran))
    assert "What yadong does differently from original" in text
    assert "alike in all that was run" in text
    assert "<svg" not in text
    assert "<script>" not in text
