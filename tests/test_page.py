"""The page of `emotalk serve` in a real browser: drop, type, drag, make, download."""

from __future__ import annotations

import base64
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from conftest import PORTRAIT, write_wav

sync_api = pytest.importorskip("playwright.sync_api")
pytest.importorskip("fastapi")

from test_serve import start  # noqa: E402

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 300_000  # ms; ends a test that hangs, and nothing else
DROP = """([selector, name, type, data]) => {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0)), files = new DataTransfer();
  files.items.add(new File([bytes], name, { type }));
  const event = new DragEvent("drop", { dataTransfer: files, bubbles: true, cancelable: true });
  document.querySelector(selector).dispatchEvent(event);
}"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    server, client = start(tmp_path_factory.mktemp("serve"))
    yield client.address
    server.send_signal(signal.SIGINT)
    assert server.wait() == 0


@pytest.fixture(scope="module")
def browser():
    if BROWSER is None:
        pytest.skip("no Chromium is installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, address):
    page = browser.new_page(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page.set_default_timeout(PATIENCE)
    page.strangers = []
    page.on("request", lambda request: page.strangers.append(request.url) if is_strange(request.url, address) else None)
    page.on("pageerror", lambda error: page.strangers.append(str(error)))
    page.goto(address)
    page.wait_for_function("() => document.querySelector('#service').textContent === 'Ready.'")
    yield page
    assert page.strangers == []  # no request to anywhere else, no error of a script
    page.close()


def is_strange(url: str, address: str) -> bool:
    return not url.startswith((address, "blob:", "data:"))


def drop(page, selector: str, file: Path, kind: str) -> None:
    page.evaluate(DROP, [selector, file.name, kind, base64.b64encode(file.read_bytes()).decode()])


def shown(page, emotion: str) -> None:
    """Wait for the preview of an emotion."""
    page.wait_for_function("(emotion) => document.querySelector('#preview').dataset.emotion === emotion", arg=emotion)


def test_from_a_picture_to_a_downloaded_video(page, tmp_path):
    t = np.arange(8000) / 16000
    speech = write_wav(tmp_path / "speech.wav", 0.4 * np.sin(700 * t) * (np.sin(25 * t) > 0))
    assert page.locator("#make").is_disabled()
    drop(page, "#face-drop", PORTRAIT, "image/png")
    shown(page, "neutral")
    page.fill("#emotion", "happy")
    shown(page, "happy")
    before = page.locator("#preview").get_attribute("src")
    page.focus("#intensity")
    page.keyboard.press("End")  # a slider by keyboard
    page.wait_for_function("(src) => document.querySelector('#preview').src !== src", arg=before)
    page.locator("#map").scroll_into_view_if_needed()
    box = page.locator("#map").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.2, steps=3)
    page.mouse.up()
    dragged = page.input_value("#emotion")
    assert dragged and dragged != "happy"
    shown(page, dragged)
    drop(page, "#audio-drop", speech, "audio/wav")
    page.wait_for_function("() => !document.querySelector('#make').disabled")
    page.click("text=More")
    page.select_option("#size", "256")
    page.click("#make")
    page.wait_for_selector("#video:not([hidden])")
    assert page.locator("#status").inner_text().startswith("Done.")
    with page.expect_download() as saved:
        page.click("#downloads a:has-text('video')")
    video = Path(saved.value.path()).read_bytes()
    assert video[4:8] == b"ftyp"
    size = page.evaluate(
        "() => [document.querySelector('#video').videoWidth, document.querySelector('#video').duration]"
    )
    assert size[0] == 256 and abs(size[1] - 0.5) < 0.1


def test_moments_of_a_timeline_are_sent(page):
    for emotion in ("sad", "happy"):
        page.click("#timeline-details > summary") if not page.locator("#wave").is_visible() else None
        page.fill("#emotion", emotion)
        page.click("#add-keyframe")
    assert page.locator("#keyframes li").count() == 2
    values = page.eval_on_selector_all("#keyframes input[type=text]", "inputs => inputs.map((input) => input.value)")
    assert values == ["sad", "happy"]
    page.click("#keyframes li:first-child button")
    assert page.locator("#keyframes li").count() == 1


def test_the_page_fits_a_phone_and_names_its_fields(page):
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    unnamed = page.eval_on_selector_all(
        "input, select, textarea",
        "all => all.filter((field) => !field.labels?.length && !field.ariaLabel).map((field) => field.id)",
    )
    assert unnamed == []
