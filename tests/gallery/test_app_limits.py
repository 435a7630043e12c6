"""The page's limits that need no model: the size of a request, a disk that is full."""

import signal
import subprocess
import sys
import time
from typing import Any, cast

import pytest
from starlette.testclient import TestClient

from rgcn_jax.gallery import Gallery
from rgcn_jax.gallery.server.app import MAX_JSON, make_app
from rgcn_jax.gallery.server.queries import Queries
from rgcn_jax.gallery.server.videos import Videos
from tests.faults.test_disk import full_after
from tests.gallery.models import model

VIDEO = b"\0\0\0\x18ftypisom" + bytes(50_000)


@pytest.fixture
def client(tmp_path):
    queries = Queries(cast(Any, None), None)  # none is embedded
    (tmp_path / "videos").mkdir()
    app = make_app(Gallery.open(tmp_path / "people", model()), queries, Videos(tmp_path / "videos"))
    return TestClient(app, raise_server_exceptions=False)


def test_a_request_of_unknown_length_is_not_read_for_ever(client):
    asked = 0

    def endless():
        nonlocal asked
        while asked < 100 * MAX_JSON:
            asked += 2**16
            yield b" " * 2**16

    answer = client.post("/api/search", content=endless())
    assert answer.status_code == 400
    assert answer.json() == {"error": "the request is too large."}


@pytest.mark.parametrize("body", [b"", b"[", b"[" * 100_000, b"\xff", b"null", b'{"query": ' + b"[" * 100_000])
def test_what_is_no_json_is_one_sentence(body, client):
    answer = client.post("/api/search", content=body)
    assert answer.status_code == 400
    assert "JSON" in answer.json()["error"]


def test_an_upload_on_a_full_disk_is_told_and_leaves_nothing(client, tmp_path):
    with full_after(10_000):
        answer = client.post("/api/videos", files={"video": ("a.mp4", VIDEO)})
    assert answer.status_code == 507
    assert "File too large" in answer.json()["error"]
    assert list((tmp_path / "videos").iterdir()) == []


SERVER = """
import asyncio, socket, sys, tempfile
import uvicorn
from rgcn_jax.command import run_command

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        print("ready", flush=True)
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

def main(arguments):
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    with tempfile.TemporaryDirectory(dir=arguments[0]):
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])

run_command(main)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_uploads_do_not_outlive_a_server_that_is_ended(number, tmp_path):
    """In the frame of gallery serve: uvicorn has handlers of its own, and then sends the signal once more."""
    command = [sys.executable, "-c", SERVER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.2)
        assert len(list(tmp_path.iterdir())) == 1
        process.send_signal(number)
        _, reported = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert "Traceback" not in reported
    assert list(tmp_path.iterdir()) == []
