"""The report in a real browser: silent, alone, readable on a phone, and accessible."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from report_content import EVIL, content_for

from tfransfer.evaluation.report.page import render

pytestmark = pytest.mark.slow
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


def chromium():
    """Of the system; TFRANSFER_CHROMIUM names another."""
    given = os.environ.get("TFRANSFER_CHROMIUM")
    found = given or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium is installed; name one with TFRANSFER_CHROMIUM")
    return found


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs pip install 'tfransfer[browser]'")
    pytest.importorskip("axe_playwright_python", reason="needs pip install 'tfransfer[browser]'")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium(), args=list(QUIET))
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """A report of each kind, from plain values."""
    folder = tmp_path_factory.mktemp("reports")
    odd = {"duplicate": (np.zeros((9, 9, 3), np.uint8), np.full((9, 9, 3), 255, np.uint8))}
    issues = [{"kind": "duplicate", "path": f"{'long/' * 20}{i}.jpg", "detail": "same", "set_aside": "true"}
              for i in range(3)]  # fmt: skip
    kinds = {
        "photos": content_for(photos=True, issues=issues, odd=odd),
        "names": content_for(classes=("猫", EVIL, "Donaudampfschifffahrtsgesellschaftskapitän" * 2), photos=True),
        "many": content_for(classes=tuple(f"class {i}" for i in range(200))),
        "texts": content_for(texts=["a dreadful, dreadful film " * 30, "أحمر وأزرق", "x" * 900]),
        "multi-label": content_for(task="multi-label", photos=True),
        "regression": content_for(task="regression", photos=True),
        "bare": content_for(answers=None, shown=(), history=[], missing="No photos are shown."),
    }
    for name, content in kinds.items():
        (folder / f"{name}.html").write_text(render(content), encoding="utf-8")
    return folder


KINDS = ("photos", "names", "many", "texts", "multi-label", "regression", "bare")


def look_at(browser, file: Path, size, scheme):
    """Console messages, addresses outside of the file, pixels that stick out sideways, serious findings of axe."""
    from axe_playwright_python.sync_playwright import Axe

    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    found = [
        f"{v['impact']} {v['id']}: {v['nodes'][0]['html'][:200]}"
        for v in Axe().run(page).response["violations"]
        if v["impact"] in ("serious", "critical")
    ]
    context.close()
    return said, [url for url in asked if not url.startswith(("file:", "data:"))], wide, found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_report_is_silent_alone_and_accessible(browser, reports, kind, size, scheme):
    said, asked, wide, found = look_at(browser, reports / f"{kind}.html", SIZES[size], scheme)
    assert said == []
    assert asked == []
    assert wide <= 0
    assert found == []


def test_the_look_sees_what_is_wrong(browser, tmp_path):
    """The check itself can fail: a page that speaks, asks, sticks out and has a picture without words."""
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<!DOCTYPE html><html><title>x</title><body><img src='http://localhost:9/x.png'>"
        "<script>console.log('hello')</script><div style='width:3000px'>wide</div></body></html>"
    )
    said, asked, wide, found = look_at(browser, bad, SIZES["phone"], "light")
    assert said
    assert asked
    assert wide > 0
    assert any("image-alt" in line for line in found)
