"""What answers, or doesn't, where an engine should be: one error, and no socket left open."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import docker.errors
import pytest
import requests
from tare_bench.drivers import docker_client
from tare_bench.drivers.docker_endpoint import Endpoint, NoEngine
from tare_bench.errors import DriverUnavailable, ImageError, InstanceError


@contextlib.contextmanager
def serving(answer: bytes, status: int = 200) -> Iterator[str]:
    """A web server on the loopback that says that to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *words: object) -> None:
            """Quiet."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("named", [True, False])
def test_nobody_is_there(tmp_path: Path, named: bool) -> None:
    endpoint = Endpoint(f"unix://{tmp_path}/none.sock", "DOCKER_HOST", named=named)
    with pytest.raises(DriverUnavailable, match="does not answer") as caught:
        docker_client.connect(endpoint)
    assert isinstance(caught.value, NoEngine) is not named  # only what nobody named may be replaced
    assert "No such file or directory" in caught.value.details
    assert ("DOCKER_HOST" in caught.value.details) is named


@pytest.mark.parametrize(
    "url", ["nonsense", "tcp://127.0.0.1", "ftp://127.0.0.1:1", "tcp://127.0.0.1:99999", "unix://"]
)
def test_no_address(url: str, tmp_path: Path) -> None:
    with pytest.raises(DriverUnavailable) as caught:
        docker_client.connect(Endpoint(url, "DOCKER_HOST", named=True))
    assert caught.value.details


@pytest.mark.parametrize(
    ("answer", "status"),
    [(b"hello", 200), (b"[]", 200), (b"{}", 200), (b'{"ApiVersion": "1.1"}', 200), (b'{"message": "go away"}', 500)],
)
def test_what_answers_is_no_engine(answer: bytes, status: int) -> None:
    with serving(answer, status) as url, pytest.raises(DriverUnavailable, match="does not answer") as caught:
        docker_client.connect(Endpoint(url, "DOCKER_HOST", named=True))
    assert status == 200 or "go away" in caught.value.details


def test_an_engine_that_says_nothing_has_a_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_client, "ANSWER_SECONDS", 0.05)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "silent.sock"))
        server.listen()
        with pytest.raises(DriverUnavailable, match="does not answer") as caught:
            docker_client.connect(Endpoint(f"unix://{tmp_path}/silent.sock", "DOCKER_HOST", named=True))
    assert "timeout=0.05" in caught.value.details


@pytest.mark.parametrize(
    "error", [docker.errors.APIError("engine", explanation="its words"), requests.ConnectionError("its words")]
)
@pytest.mark.parametrize("kind", [InstanceError, ImageError])
def test_an_sdks_error_becomes_ours(error: Exception, kind: type[InstanceError | ImageError]) -> None:
    with pytest.raises(kind) as caught, docker_client.wrapped("It did not.", kind):
        raise error
    assert (caught.value.brief, caught.value.details) == ("It did not.", "its words")
    assert caught.value.__cause__ is error
