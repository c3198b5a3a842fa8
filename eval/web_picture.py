"""`python -m eval.web_picture`: a picture of the page of `python -m matching demo`, taken in Chromium.

Shows the motorcycle pair inside scikit-image (Middlebury 2014), its matches, and where one point looks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import tyro

from data_scripts.command_line import MENDABLE, run_command

SWITCHES = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
WIDTH, HEIGHT = 1200, 1000  # px of the window
POINT = (0.72, 0.56)  # of the left picture, as shares of its width and height: the front wheel
PATIENCE_MS = 300_000


@dataclass(frozen=True)
class Arguments:
    """Opens the page in Chromium, matches the motorcycle pair, clicks a point and takes a picture."""

    out: Path = Path("docs/page.jpg")
    """The picture."""
    chromium: Path = Path("/usr/bin/chromium")
    """The browser."""
    quality: int = 70
    """Of the JPEG."""


def main(argv: Sequence[str] | None = None) -> int:
    """Makes the picture; 0, or 2 where something is missing."""

    def work() -> None:
        print(make_picture(tyro.cli(Arguments, prog="python -m eval.web_picture", args=argv)))

    return run_command("error", work, (*MENDABLE, ImportError))


def make_picture(arguments: Arguments) -> str:
    """Serves the page and takes the picture; what there is to say."""
    from playwright.sync_api import sync_playwright

    from data_scripts.atomic import replacing, writable
    from data_scripts.image_files import decode_image
    from eval.web_command import DemoCommand, serving

    path = writable(arguments.out, (".jpg",))
    if not arguments.chromium.is_file():
        raise FileNotFoundError(f"{arguments.chromium}: no such browser; name one with --chromium")
    with serving(DemoCommand()) as address, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(arguments.chromium), args=list(SWITCHES))
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_default_timeout(PATIENCE_MS)
        page.goto(address)
        page.get_by_text("Example: motorcycle").click()
        for name in ("image0", "image1"):
            page.wait_for_selector(f"#{name} img")
        page.get_by_label("fundamental").click()
        page.locator("#match").click()
        page.wait_for_selector("#matches img")
        page.wait_for_selector("#asking img")
        size = page.locator("#asking img").bounding_box()
        place = {"x": POINT[0] * size["width"], "y": POINT[1] * size["height"]}
        page.locator("#asking img").click(position=place)
        page.wait_for_function("document.querySelector('#about')?.innerText.includes('level 0')")
        page.wait_for_timeout(3000)  # pictures fade in
        shot = page.screenshot(full_page=True)
        browser.close()
    image = cv2.cvtColor(decode_image(shot, "screenshot"), cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, arguments.quality])
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())
    return f"{path}: {image.shape[1]} x {image.shape[0]} px, {len(encoded) // 1024} KiB"


if __name__ == "__main__":
    raise SystemExit(main())
