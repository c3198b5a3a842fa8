"""What reaches the server of the page: known addresses, small bodies, and pictures that were decoded here.

An ASGI layer before Gradio. Gradio's own upload, which stores whatever comes, is never reached: an upload is
decoded in memory and a clean PNG is stored under a random name. Addresses that are not on the list do not
exist, other hosts' names are refused (DNS rebinding), and the page may load nothing from elsewhere.
"""

from collections.abc import Sequence
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eval.web_folder import fresh_folder
from eval.web_upload import MAX_UPLOAD_BYTES, clean_png, decode_upload

API = "/gradio_api"
UPLOAD = f"{API}/upload"
PROGRESS = f"{API}/upload_progress"  # Gradio's page listens here before it sends a file
STORED = f"{API}/file="
# What the page asks for; a path that ends in "/" stands for all below it.
READ = (
    *("/", "/config", "/theme.css", "/favicon.ico", "/assets/", "/static/", "/svelte/"),
    *(f"{API}/info", f"{API}/startup-events", f"{API}/queue/data", f"{API}/queue/status"),
    *(f"{API}/heartbeat/", f"{API}/call/", f"{API}/theme.css", f"{API}/app_id", PROGRESS),
)
WRITTEN = (f"{API}/queue/join", f"{API}/call/", f"{API}/cancel", f"{API}/reset")
MAX_BODY_BYTES = 2**16  # of a call: it names files, it does not hold them
FORM_BYTES = 2**14  # round the file of an upload
KEPT_UPLOADS = 32  # the oldest go first; 48 MiB each at most
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Gradio's page needs inline scripts and styles, its 3-D view WebAssembly and blobs.
    "Content-Security-Policy": "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
}


class TooLargeError(Exception):
    """A body went on past its limit."""


class InMemoryParser(MultiPartParser):
    """Never spools a file to the disk."""

    spool_max_size = MAX_UPLOAD_BYTES + FORM_BYTES


class Guard:
    """Lets through what the page needs and answers everything else itself.

    Args:
        app: the application behind.
        folder: where clean pictures are stored; the only one that files are served from.
        hosts: names by which the server may be called; empty for any.
    """

    def __init__(self, app: ASGIApp, folder: Path, hosts: Sequence[str] = ()) -> None:
        self.app = app
        self.folder = folder.resolve()
        self.hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # the page opens no web sockets
            return
        hardened = _with_headers(send)
        refused = self._refusal(scope)
        if refused is not None:
            await refused(scope, receive, hardened)
        elif scope["path"] == UPLOAD:
            answer = await self._upload(scope, receive)
            await answer(scope, receive, hardened)
        elif scope["path"] == PROGRESS:  # of an upload that is read in one go
            done = Response('data: {"msg": "done"}\n\n', media_type="text/event-stream")
            await done(scope, receive, hardened)
        else:
            try:
                await self.app(scope, _limited(receive, MAX_BODY_BYTES), hardened)
            except TooLargeError:
                answer = PlainTextResponse("the request is too large", 413)
                await answer(scope, receive, hardened)

    def _refusal(self, scope: Scope) -> Response | None:
        host = Headers(scope=scope).get("host", "").rsplit(":", 1)[0].strip("[]").lower()
        if self.hosts and host not in self.hosts:
            return PlainTextResponse("this server is not called by that name", 421)
        length = Headers(scope=scope).get("content-length", "0")
        limit = MAX_UPLOAD_BYTES + FORM_BYTES if scope["path"] == UPLOAD else MAX_BODY_BYTES
        if not length.isdecimal() or int(length) > limit:
            return PlainTextResponse(f"wanted at most {limit} bytes", 413)
        path, method = scope["path"], scope["method"]
        if method == "POST":
            allowed = path == UPLOAD or _listed(path, WRITTEN)
        elif method in ("GET", "HEAD"):
            allowed = self._ours(path) if path.startswith(STORED) else _listed(path, READ)
        else:
            allowed = False
        return None if allowed else PlainTextResponse("there is nothing here", 404)

    def _ours(self, path: str) -> bool:
        try:
            stored = Path(path.removeprefix(STORED)).resolve()
        except (OSError, ValueError, RuntimeError):  # zero bytes, loops of links
            return False
        return stored.is_relative_to(self.folder) and stored != self.folder

    async def _upload(self, scope: Scope, receive: Receive) -> Response:
        """Stores what one picture shows; the answer is Gradio's: a list with its path."""
        try:
            data = await _only_file(
                Request(scope, _limited(receive, MAX_UPLOAD_BYTES + FORM_BYTES))
            )
            path = await run_in_threadpool(lambda: self._store(clean_png(decode_upload(data))))
        except TooLargeError:
            return PlainTextResponse(f"wanted at most {MAX_UPLOAD_BYTES} bytes", 413)
        except MultiPartException as error:
            return PlainTextResponse(f"wanted a form with one file: {error.message}", 400)
        except ValueError as error:
            return PlainTextResponse(" ".join(str(error).split()), 422)
        return JSONResponse([str(path)])

    def _store(self, png: bytes) -> Path:
        path = fresh_folder(self.folder / "uploads", KEPT_UPLOADS) / "image.png"
        path.write_bytes(png)
        return path


async def _only_file(request: Request) -> bytes:
    """The one file of a form."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise MultiPartException("this is no form")
    parser = InMemoryParser(request.headers, request.stream(), max_files=1, max_fields=4)
    try:
        form = await parser.parse()
    except (KeyError, UnicodeDecodeError, LookupError) as error:  # no boundary, odd charset
        raise MultiPartException("its head does not read") from error
    files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    if len(files) != 1:
        raise MultiPartException(f"it has {len(files)}")
    data = await files[0].read()
    await form.close()
    return data


def _listed(path: str, known: Sequence[str]) -> bool:
    if ".." in path:
        return False
    return any(
        path == each or (each != "/" and each.endswith("/") and path.startswith(each))
        for each in known
    )


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
        await send(message)

    return sending


def _limited(receive: Receive, limit: int) -> Receive:
    """`receive` that raises TooLargeError once more than `limit` bytes came."""
    left = limit

    async def receiving() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise TooLargeError
        return message

    return receiving
