"""The server of the page over HTTP: what strangers may ask of it and what not."""

import json
import re

import cv2
import numpy as np
import pytest

pytest.importorskip("gradio", reason="the page wants quadview[page]")
httpx = pytest.importorskip("httpx", reason="the page wants quadview[page]")
pytestmark = pytest.mark.slow  # the server starts once

from tests.eval.test_web_upload import SCRIPT, encoded, photo, png  # noqa: E402
from tests.eval.web_server import web_server  # noqa: E402

UPLOAD = "/gradio_api/upload"
FILE = "/gradio_api/file="
STORED = re.compile(r"/quadview-\w+/uploads/[\w-]{32}/image\.png$")


@pytest.fixture(scope="module")
def client():
    with web_server() as address, httpx.Client(base_url=address) as client:
        yield client


def upload(client, data, name="a.png", kind="image/png"):
    return client.post(UPLOAD, files={"files": (name, data, kind)})


def test_an_upload_is_stored_as_a_clean_picture_under_a_random_name(client):
    answers = [upload(client, encoded(".png") + SCRIPT) for _ in range(2)]
    paths = [answer.json()[0] for answer in answers]
    assert paths[0] != paths[1]
    for path in paths:
        assert STORED.search(path)
        served = client.get(FILE + path)
        assert served.headers["content-type"] == "image/png"
        assert SCRIPT not in served.content
        shown = cv2.imdecode(np.frombuffer(served.content, np.uint8), cv2.IMREAD_COLOR)
        np.testing.assert_array_equal(shown[..., ::-1], photo())


@pytest.mark.parametrize(
    "name",
    ["../../../etc/cron.d/x.png", "a.svg", "a.html", "x\0.png", "/etc/passwd", "a" * 5000, ""],
)
def test_the_name_of_an_upload_decides_nothing(client, name):
    answer = upload(client, encoded(".jpg"), name, "text/html")
    if answer.status_code == 200:
        assert STORED.search(answer.json()[0])
    else:
        assert answer.status_code == 400


@pytest.mark.parametrize(
    "data",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        b"<html>" + SCRIPT,
        b"#!/bin/sh\nid",
        png(60_000, 60_000, b"x"),
        b"",
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(client, data):
    answer = upload(client, data)
    assert answer.status_code == 422
    assert answer.headers["content-type"].startswith("text/plain")
    assert "wanted" in answer.text
    assert "\n" not in answer.text


def test_bodies_have_limits(client):
    assert upload(client, encoded(".png") + b"\0" * 2**26).status_code == 413
    assert client.post("/gradio_api/queue/join", content=b"x" * 2**20).status_code == 413
    two = [("files", ("a.png", encoded(".png"))), ("files", ("b.png", encoded(".png")))]
    assert client.post(UPLOAD, files=two).status_code == 400
    assert client.post(UPLOAD, content=b"x").status_code == 400
    broken = {"content-type": "multipart/form-data"}
    assert client.post(UPLOAD, content=b"x", headers=broken).status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/etc/passwd",
            "setup.cfg",
            "https://example.org/",
            "//etc/passwd",
            "",
            ".",
            "/proc/self/environ",
        ),
        *("../../../../../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "x%00y", "~/.bashrc"),
    ],
)
def test_no_file_but_ours_is_served(client, path):
    assert client.get(FILE + path).status_code == 404


def test_a_way_out_of_our_folder_is_not_served(client):
    folder = upload(client, encoded(".png")).json()[0].rsplit("/", 2)[0]
    for path in (f"{folder}/../../../etc/passwd", f"{folder}/..", folder):
        assert client.get(f"http://127.0.0.1:{client.base_url.port}{FILE}{path}").status_code in (
            403,
            404,
        )


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/gradio_api/proxy=https://example.org/",
            "/docs",
            "/openapi.json",
            "/monitoring",
            "/login",
        ),
        *(
            "/gradio_api/vibe-code/",
            "/gradio_api/process_recording",
            "/gradio_api/component_server",
        ),
        *("/gradio_api/run/predict", "/manifest.json", "/robots.txt"),
    ],
)
def test_other_addresses_do_not_exist(client, path):
    assert client.get(path).status_code == 404
    assert client.post(path, json={}).status_code == 404
    assert client.delete(path).status_code == 404


def test_other_names_of_the_server_are_refused(client):
    assert client.get("/", headers={"host": "evil.example"}).status_code == 421
    assert client.get("/", headers={"host": "localhost:1"}).status_code == 200


def test_the_page_may_load_nothing_from_elsewhere(client):
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    assert "http" not in policy
    assert policy.startswith("default-src 'self'")
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "fonts.googleapis" not in client.get("/theme.css").text


def ask(client, inputs):
    """What the button Match answers to inputs that a page would not send."""
    functions = client.get("/config").json()["dependencies"]
    number = next(f["id"] for f in functions if len(f["inputs"]) == 2 and len(f["outputs"]) == 4)
    call = {"data": inputs, "fn_index": number, "session_hash": "s"}
    assert client.post("/gradio_api/queue/join", json=call).status_code == 200
    with client.stream("GET", "/gradio_api/queue/data?session_hash=s", timeout=30) as stream:
        for line in stream.iter_lines():
            if line.startswith("data:") and "process_completed" in line:
                return json.loads(line[5:])
    return None


@pytest.mark.parametrize(
    "image",
    [
        {"path": "/etc/passwd"},
        {"path": "https://example.org/a.png"},
        {"path": "x.png", "url": "data:image/png;base64,AAAA"},
        {"path": "../../../etc/passwd", "orig_name": "a.svg"},
        {"url": "data:image/svg+xml,<svg/>"},
    ],
)
def test_a_call_cannot_name_other_files(client, image):
    image |= {"meta": {"_type": "gradio.FileData"}}
    answer = ask(client, [image, image])
    assert answer["success"] is False
    assert "root:" not in json.dumps(answer)
