"""The page in a real browser: a photo goes in, the top classes come out, light and dark, on a desk and on a phone."""

import os
from pathlib import Path

import pytest
from serving_world import picture, serving

from tfransfer import pipeline

BROWSER = Path(os.environ.get("TFRANSFER_CHROMIUM", "/usr/bin/chromium"))
QUIET = ["no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
         "disable-component-update", "disable-sync"]  # fmt: skip
SIZES = {"desktop": (1100, 760), "phone": (390, 844)}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if not BROWSER.is_file():
        pytest.skip(f"there is no Chromium at {BROWSER}; name it with TFRANSFER_CHROMIUM")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=str(BROWSER), args=[f"--{word}" for word in QUIET])
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser):
    """Opens the page of a service; afterwards nothing was wrong in it, and nothing was asked of anybody else."""
    contexts, wrong = [], []

    def open_(client, size="desktop", scheme="light"):
        width, height = SIZES[size]
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        at = f"http://127.0.0.1:{client.port}/"
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if "400" not in said.text else None)
        page.on("request", lambda sent: None if sent.url.startswith((at, "data:", "blob:")) else wrong.append(sent.url))
        page.goto(at)
        page.wait_for_selector("#photo:not([hidden]), #words:not([hidden])")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def photo(tmp_path):
    (tmp_path / "photo.png").write_bytes(picture(1, size=(400, 300)))
    return tmp_path / "photo.png"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_photo_is_named_with_the_classes_of_predict(client, run, open_page, photo, tmp_path, size, scheme):
    page = open_page(client, size, scheme)
    page.set_input_files("#file", photo)
    page.wait_for_selector(".best")
    right = pipeline.predict(run, photo)
    assert page.inner_text(".best") == right.label
    assert page.locator("li .name").all_inner_texts() == [name for name, _ in right.top]
    shares = [float(text.rstrip(" %")) for text in page.locator("li .share").all_inner_texts()]
    assert shares == pytest.approx([100 * share for _, share in right.top], abs=0.06)
    assert page.get_attribute("#preview", "alt") == "Your photo, photo.png"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # nothing sticks out
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert (tmp_path / "page.png").stat().st_size > 5_000


def test_photo_can_be_dropped_and_the_file_field_reached_by_keyboard(client, open_page):
    page = open_page(client)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"
    page.evaluate(
        """bytes => {
          const given = new DataTransfer();
          given.items.add(new File([new Uint8Array(bytes)], "dropped.png"));
          document.getElementById("drop").dispatchEvent(new DragEvent("drop", {dataTransfer: given, bubbles: true}));
        }""",
        list(picture(1)),
    )
    page.wait_for_selector(".best")
    assert page.inner_text("#chosen").startswith("dropped.png")


def test_refusals_are_told(run, open_page, photo, tmp_path):
    (tmp_path / "words.txt").write_text("no picture")
    (tmp_path / "large.png").write_bytes(photo.read_bytes() * 100)
    with serving(run, body_mb=0.2) as client:
        page = open_page(client)
        page.set_input_files("#file", tmp_path / "words.txt")
        page.wait_for_selector(".bad")
        assert "words.txt: not a picture" in page.inner_text(".bad")
        page.set_input_files("#file", tmp_path / "large.png")
        page.wait_for_function("document.querySelector('.bad')?.innerText.includes('the limit is 200 kB')")
        page.set_input_files("#file", photo)
        page.wait_for_selector(".best")


def test_classes_that_apply_are_marked(make_run, open_page, photo):
    with serving(make_run("several", "multi-label", thresholds=[0.0, 1.1, 0.0])) as client:
        page = open_page(client)
        page.set_input_files("#file", photo)
        page.wait_for_selector(".best")
        assert page.locator("li.applies").count() == 2
        assert "green" not in page.inner_text(".best")


def test_number_is_shown(make_run, open_page, photo):
    run = make_run("weight", "regression", classes=["weight"])
    with serving(run) as client:
        page = open_page(client)
        page.set_input_files("#file", photo)
        page.wait_for_selector(".best")
        assert float(page.inner_text(".best").replace(",", "")) == pytest.approx(
            pipeline.predict(run, photo).value, rel=1e-3
        )


def test_text_is_typed_and_sent_by_keyboard(make_run, open_page):
    run = make_run("words", kind="text", classes=["<b>bad</b>", "good"])
    with serving(run) as client:
        page = open_page(client)
        page.fill("#text", "a lovely film")
        page.press("#text", "Control+Enter")
        page.wait_for_selector(".best")
        assert page.inner_text(".best") == pipeline.predict(run, "a lovely film").label
        assert "<b>bad</b>" in page.locator("li .name").all_inner_texts()
