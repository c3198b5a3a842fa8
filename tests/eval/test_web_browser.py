"""The page in a real browser: Debian's Chromium, driven by Playwright, with the examples of scikit-image."""

import csv
from pathlib import Path

import cv2
import h5py
import pytest

pytest.importorskip("gradio", reason="the page wants quadview[page]")
sync_api = pytest.importorskip("playwright.sync_api", reason="wants pip install playwright")
data = pytest.importorskip("skimage.data", reason="wants quadview[demo]")

from tests.eval.web_server import web_server  # noqa: E402

CHROMIUM = Path("/usr/bin/chromium")
SWITCHES = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
PATIENCE_MS = 120_000  # for one answer of the network on a busy machine
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"wants {CHROMIUM}"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Playwright's own event loop
]


@pytest.fixture(scope="module")
def visit():
    """An open page, and every address that it has asked for."""
    with web_server() as address, sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=SWITCHES)
        page = browser.new_page(viewport={"width": 1200, "height": 1400})
        page.set_default_timeout(PATIENCE_MS)
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        page.wait_for_selector("#match")
        yield page, address, asked
        browser.close()


def words(page, selector):
    page.wait_for_function("s => document.querySelector(s)?.innerText.trim()", arg=selector)
    return page.locator(selector).inner_text()


def test_upload_match_slide_click_and_download(visit, tmp_path):
    page, _, _ = visit
    left, right, _ = data.stereo_motorcycle()
    for name, image in (("image0", left), ("image1", right)):
        half = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        path = tmp_path / f"{name}.png"
        cv2.imwrite(str(path), half[..., ::-1])
        page.locator(f"#{name} input[type=file]").first.set_input_files(path)
        page.wait_for_selector(f"#{name} img")
    page.locator("#match").click()
    page.wait_for_selector("#matches img")
    first = words(page, "#words")
    total = int(first.split(" of ")[1].split()[0])
    assert total > 300
    assert "agree with one homography" in first

    page.locator("#confidence input[type=number]").fill("0.9")
    page.locator("#confidence input[type=range]").focus()
    page.keyboard.press("ArrowLeft")
    page.locator("#confidence input[type=range]").dispatch_event("pointerup")
    page.wait_for_function("w => document.querySelector('#words').innerText != w", arg=first)
    sure = int(words(page, "#words").split(" of ")[0])
    assert 0 < sure < total

    for suffix in ("csv", "h5"):
        with page.expect_download() as download:
            page.locator(f"#download-{suffix}").click()
        download.value.save_as(tmp_path / f"matches.{suffix}")
    rows = list(csv.reader((tmp_path / "matches.csv").read_text().splitlines()))
    assert len([row for row in rows if len(row) == 5]) == sure + 1  # a heading
    with h5py.File(tmp_path / "matches.h5") as file:
        assert file["keypoints0"].shape == (sure, 2)
        assert file["confidence"][:].min() >= 0.88

    page.wait_for_selector("#asking img")
    page.locator("#asking img").click(position={"x": 150, "y": 150})
    page.wait_for_function("document.querySelector('#about')?.innerText.includes('level 0:')")
    assert "Point (" in words(page, "#about")
    page.wait_for_selector("#regions img")


def test_a_bad_upload_is_told_and_changes_nothing(visit, tmp_path):
    page, _, _ = visit
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"<svg/>")
    with page.expect_response(lambda answer: "/upload?" in answer.url) as answer:
        page.locator("#image0 input[type=file]").first.set_input_files(bad)
    assert answer.value.status == 422


def test_stereo_shows_disparity_and_a_surface(visit):
    page, address, _ = visit
    page.goto(address)
    page.get_by_text("Example: motorcycle").click()
    for name in ("image0", "image1"):
        page.wait_for_selector(f"#{name} img")
    page.get_by_role("tab", name="Stereo").click()
    page.locator("#stereo").click()
    for name in ("#disparity img", "#occlusion img", "#sure img", "#surface canvas"):
        page.wait_for_selector(name)
    assert "occluded" in words(page, "#stereo-words")


def test_nothing_was_asked_of_another_machine(visit):
    _, address, asked = visit
    strange = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert len(asked) > 20
    assert not strange
