"""The page itself: which controls there are and what each of them asks. Gradio is imported here alone."""

from collections.abc import Awaitable, Callable
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from eval.web_answers import Answers, Asked, Matched, disparity_words
from eval.web_pictures import confidence_picture, disparity_picture, level_rgb, occlusion_picture
from eval.web_upload import decode_upload
from stereo.disparity import Disparity
from stereo.point_cloud import Calibration

TITLE = "quadview"
STYLE = ".gradio-container {max-width: 1280px !important} footer {display: none !important}"
FONTS = ("system-ui", "sans-serif")  # nothing comes from the net
SIDES = {"image0": "First, or left image", "image1": "Second, or right image"}
NETWORK = "network"  # one question at a time goes to the networks
SURFACE_SECONDS = 3600  # what a visitor matched is forgotten after so long
PICTURE = {"format": "jpeg", "interactive": False, "buttons": ["fullscreen"]}


def picture_input(**settings: Any) -> Any:
    """Gradio's image, but only of files that the guard stored, decoded by us: (H, W, 3) uint8 or None."""
    image = gr.Image(sources=["upload", "clipboard"], format="png", height=260, **settings)
    # On the instance: Gradio writes a file beside the source of every subclass.
    image.preprocess = stored_picture
    image.async_move_resource_to_block_cache = no_address(image.async_move_resource_to_block_cache)
    return image


def stored_picture(payload: Any) -> np.ndarray | None:
    """The pixels of a stored upload; a picture inside the request itself is refused."""
    if payload is None:
        return None
    if payload.path is None:
        raise gr.Error("wanted an uploaded picture")
    try:
        return decode_upload(Path(payload.path).read_bytes(), "image")
    except (OSError, ValueError) as error:
        raise gr.Error(" ".join(str(error).split())) from error


def no_address(store: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
    """`store` that refuses addresses: nothing is fetched for a visitor."""

    async def storing(path: Any) -> Any:
        if "://" in str(path):
            raise gr.Error("wanted an uploaded picture, got an address")
        return await store(path)

    return storing


def build_page(answers: Answers, examples: dict[str, Callable[[], "Example"]]) -> gr.Blocks:
    """The page over `answers`; `examples` by the words on their buttons."""
    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.Markdown("## quadview\nMatches of two images, and disparity of a rectified pair.")
        matched = gr.State(None, time_to_live=SURFACE_SECONDS)
        with gr.Row():
            sides = [picture_input(label=label, elem_id=name) for name, label in SIDES.items()]
        with gr.Row():
            buttons = {name: gr.Button(name, size="sm") for name in examples}
        with gr.Tab("Matching"):
            _matching_tab(answers, sides, matched)
        with gr.Tab("Stereo"):
            calibration = _stereo_tab(answers, sides)
        for name, button in buttons.items():
            button.click(
                lambda example=examples[name]: example().values,
                outputs=[*sides, *calibration],
                api_name=False,
            )
    return page


class Example:
    """A pair with its calibration."""

    def __init__(
        self, image0: np.ndarray, image1: np.ndarray, calibration: Calibration | None = None
    ) -> None:
        focal = 1.2 * image0.shape[1]
        chosen = calibration or Calibration(focal, 1.0)
        self.values = (image0, image1, chosen.focal_px, chosen.baseline_m, chosen.doffs_px)


def _matching_tab(answers: Answers, sides: list[Any], matched: Any) -> None:
    with gr.Row():
        confidence = gr.Slider(
            0, 1, 0.2, step=0.01, label="Lowest confidence", elem_id="confidence"
        )
        kind = gr.Radio(["homography", "fundamental"], value="homography", label="Geometry")
        threshold = gr.Slider(0.5, 10, 2, step=0.5, label="Inlier threshold, px")
        agreeing = gr.Checkbox(label="Only matches that agree with it")
    ask = gr.Button("Match", variant="primary", elem_id="match")
    picture = gr.Image(label="Matches, bright where sure", elem_id="matches", **PICTURE)
    words = gr.Markdown(elem_id="words")
    with gr.Row():
        files = [
            gr.DownloadButton(f"Matches as {suffix}", elem_id=f"download-{suffix}", size="sm")
            for suffix in ("csv", "h5")
        ]
    gr.Markdown(
        "Click a point of the left picture: the cells of the other image that its QuadTree attention "
        f"visits, coarse to fine ({_legend()}), and its match."
    )
    with gr.Row():
        asking = gr.Image(label="First image: click here", elem_id="asking", **PICTURE)
        regions = gr.Image(label="What the point looks at", elem_id="regions", **PICTURE)
    about = gr.Markdown(elem_id="about")
    controls = [confidence, kind, threshold, agreeing]
    shown = [picture, words, *files]

    def match(image0: np.ndarray | None, image1: np.ndarray | None) -> tuple[Any, ...]:
        image0, image1 = _both(image0, image1)
        return answers.match(image0, image1), image0, image1, ""

    def show(state: Matched | None, *asked: Any) -> tuple[Any, ...]:
        if state is None:
            return None, "", None, None
        answer = answers.show_matches(state, Asked(*asked))
        return answer.picture, answer.words, str(answer.table), str(answer.store)

    def point(state: Matched | None, event: gr.SelectData) -> tuple[Any, ...]:
        if state is None:
            raise ValueError("match two images first")
        x, y = event.index
        answer = answers.show_point(state, (float(x), float(y)))
        return answer.asking, answer.regions, answer.words

    quiet = {"api_name": False}
    ask.click(
        _told(match), sides, [matched, asking, regions, about], concurrency_id=NETWORK, **quiet
    ).success(_told(show), [matched, *controls], shown, **quiet)
    for control in (confidence, threshold):
        control.release(_told(show), [matched, *controls], shown, **quiet)
    for choice in (kind, agreeing):
        choice.change(_told(show), [matched, *controls], shown, **quiet)
    asking.select(
        _told(point), [matched], [asking, regions, about], concurrency_id=NETWORK, **quiet
    )


def _stereo_tab(answers: Answers, sides: list[Any]) -> list[Any]:
    """Fills the tab; returns the fields of the calibration."""
    gr.Markdown("For a rectified pair: rows of both images belong together.")
    with gr.Row():
        focal = gr.Number(1000, label="Focal length, px", minimum=1)
        baseline = gr.Number(1, label="Baseline, m", minimum=1e-6)
        doffs = gr.Number(0, label="Offset of principal points, px")
    ask = gr.Button("Disparity", variant="primary", elem_id="stereo")
    words = gr.Markdown(elem_id="stereo-words")
    with gr.Row():
        disparity = gr.Image(label="Disparity, near is bright", elem_id="disparity", **PICTURE)
        occlusion = gr.Image(label="Occluded in red", elem_id="occlusion", **PICTURE)
        confidence = gr.Image(label="Confidence", elem_id="sure", **PICTURE)
    surface = gr.Model3D(label="Surface", elem_id="surface", height=420, interactive=False)

    def predict(
        left: np.ndarray | None,
        right: np.ndarray | None,
        focal: float,
        baseline: float,
        doffs: float,
    ) -> tuple[Any, ...]:
        left, right = _both(left, right)
        found: Disparity = answers.disparity(left, right)
        path = answers.surface(left, found, Calibration(focal, baseline, doffs))
        pictures = disparity_picture(found), occlusion_picture(left, found)
        return disparity_words(found), *pictures, confidence_picture(found), str(path)

    fields = [focal, baseline, doffs]
    ask.click(
        _told(predict),
        [*sides, *fields],
        [words, disparity, occlusion, confidence, surface],
        concurrency_id=NETWORK,
        api_name=False,
    )
    return fields


def _legend() -> str:
    squares = [f'<span style="color:rgb{level_rgb(n)}">&#9632;</span>' for n in range(3)]
    return " ".join(squares)


def _both(image0: np.ndarray | None, image1: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    if image0 is None or image1 is None:
        raise ValueError("choose both images first")
    return image0, image1


def _told(function: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    """The same, whose errors that a visitor can mend are shown in words."""

    @wraps(function)
    def asked(*arguments: Any, **named: Any) -> tuple[Any, ...]:
        try:
            return function(*arguments, **named)
        except (ValueError, TypeError) as error:
            raise gr.Error(" ".join(str(error).split())) from error

    return asked
