"""`python -m matching demo`: a page on this machine to try matching and stereo with one's own images.

The page shows both tasks, so it lives above both packages; the command is listed with those of matching.
"""

import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

if TYPE_CHECKING:
    from eval.web_page import Example

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
EVERYWHERE = ("0.0.0.0", "::")
# Read by Gradio: where files go, and that nothing is told or asked of the net.
SETTINGS = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_SSR_MODE": "False",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
MOTORCYCLE = (994.978, 0.193001, 31.086)  # px, m, px: the calibration that scikit-image tells


@dataclass(frozen=True)
class DemoCommand:
    """Open a local page to try matching and stereo with one's own images. Ctrl-C ends it.

    Args:
        host: Address to listen at; with the default, only this machine reaches the page. There is no password.
        port: To listen at; None takes the first free one from 7860 on.
        weights: Of matching: name of shipped weights, or a checkpoint file.
        stereo_weights: Of stereo.
        device: cpu, cuda or cuda:N.
        browser: Open the page in the browser.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    weights: str = "small"
    stereo_weights: str = "small"
    device: str = "cpu"
    browser: bool = False

    def __post_init__(self) -> None:
        if self.port is not None and not 0 < self.port < 2**16:
            raise ValueError(f"--port must be in [1, 65535], got {self.port}")


def parse(argv: Sequence[str]) -> DemoCommand:
    """The command that `argv` spells; exits with a message where it spells none."""
    return tyro.cli(DemoCommand, args=argv, prog="python -m matching demo")


def run(command: DemoCommand) -> str:
    """Serves the page until it is stopped.

    Raises:
        ValueError: Gradio or weights are missing, or the port is taken; as OSError.
    """
    check_address(command.host, command.port)
    with serving(command) as address:
        print(f"{address} (Ctrl-C ends it)", flush=True)
        threading.Event().wait()
    return ""


def check_address(host: str, port: int | None) -> None:
    """Tells early, before anything heavy is loaded, that nothing can listen there.

    Raises:
        ValueError: this machine has no such address, or another program listens at the port.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port or 0, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            probe.bind(address)
    except OSError as error:
        at = host if port is None else f"{host}, port {port}"
        raise ValueError(
            f"wanted to listen at {at}, got: {error.strerror}; choose another --host or --port"
        ) from error


@contextmanager
def serving(command: DemoCommand) -> Iterator[str]:
    """The address of the page, which is served inside the block; its files are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="quadview-") as name:
        folder = Path(name).resolve()
        os.environ.update(SETTINGS | {"GRADIO_TEMP_DIR": name})
        os.environ["GRADIO_EXAMPLES_CACHE"] = str(folder / "examples")
        try:
            import gradio as gr
            from starlette.middleware import Middleware
        except ImportError as error:
            raise ValueError(
                f"the page wants Gradio: pip install 'quadview[page]' ({error})"
            ) from error
        from eval.web_answers import Answers
        from eval.web_guard import Guard
        from eval.web_page import FONTS, STYLE, build_page
        from eval.web_upload import MAX_UPLOAD_BYTES

        answers = Answers(folder, command.weights, command.stereo_weights, command.device)
        answers.matching()  # wrong weights are told before the page opens
        page = build_page(answers, examples())
        hosts = () if command.host in EVERYWHERE else (*LOCAL_NAMES, command.host)
        guard = Middleware(Guard, folder=folder, hosts=hosts)
        _, address, _ = page.queue(max_size=32).launch(
            server_name=command.host,
            server_port=command.port,
            inbrowser=command.browser,
            share=False,
            prevent_thread_lock=True,
            quiet=True,
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            state_session_capacity=16,
            max_file_size=MAX_UPLOAD_BYTES,  # what the browser refuses to send; the guard refuses it too
            theme=gr.themes.Default(font=FONTS, font_mono=("monospace",)),
            css=STYLE,
            app_kwargs={"middleware": [guard], "docs_url": None, "redoc_url": None},
        )
        try:
            yield address
        finally:
            page.close(verbose=False)


def examples() -> "dict[str, Callable[[], Example]]":
    """Pairs to pick, by name; none where scikit-image is missing."""
    try:
        from skimage import data
    except ImportError:
        return {}
    from eval.readme_picture import two_views
    from eval.web_page import Example
    from stereo.point_cloud import Calibration

    def motorcycle() -> Example:
        left, right, _ = data.stereo_motorcycle()
        return Example(left, right, Calibration(*MOTORCYCLE))

    def astronaut() -> Example:
        return Example(*two_views(data.astronaut())[:2])

    return {
        "Example: motorcycle, rectified (Middlebury)": motorcycle,
        "Example: portrait, two views": astronaut,
    }
