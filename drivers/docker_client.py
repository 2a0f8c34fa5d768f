"""A client of an engine that answers, and the SDK's errors said in our own way."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import docker.constants
import docker.errors
import requests
from docker.transport import unixconn
from tare_bench import system
from tare_bench.errors import DriverUnavailable, InstanceError, TareError

from .docker_endpoint import NO_ENGINE, Endpoint, NoEngine

TIMEOUT = 120
"""Seconds that one call to the engine may take."""
CONNECTIONS = 1024
"""That a client keeps: as many calls may be made at once, and one that is dropped is a line of warning."""
ANSWER_SECONDS = 20
"""Seconds in which an engine must give its version: one that is started by its socket needs some."""


def connect(endpoint: Endpoint) -> docker.APIClient:
    """A client of the engine there. Raises DriverUnavailable where it doesn't answer, NoEngine where none was named."""
    try:
        _knock(endpoint.url)
        version = _api_version(endpoint)
        return _client(endpoint, version, TIMEOUT)
    except (docker.errors.DockerException, requests.RequestException, OSError, ValueError, LookupError) as error:
        brief = f"The Docker engine at {endpoint.url} does not answer."
        if not endpoint.named:
            raise NoEngine(brief, details=f"{endpoint.url}: {words(error)}", hint=NO_ENGINE) from error
        hint = "Start that engine, or name another one; where nothing names one, the usual sockets are looked at."
        details = f"{words(error)} (it is named by {endpoint.why})"
        raise DriverUnavailable(brief, details=details, hint=hint) from error


def _api_version(endpoint: Endpoint) -> str:
    with contextlib.closing(_client(endpoint, docker.constants.DEFAULT_DOCKER_API_VERSION, ANSWER_SECONDS)) as client:
        said: Any = client.version(api_version=False)
    if not isinstance(said, dict) or "ApiVersion" not in said:
        raise ValueError("what answers is no Docker engine")
    return str(said["ApiVersion"])


def _client(endpoint: Endpoint, version: str, seconds: int) -> docker.APIClient:
    client = docker.APIClient(base_url=endpoint.url, version=version, timeout=seconds, tls=endpoint.tls or False)
    # Or requests would believe REQUESTS_CA_BUNDLE rather than the engine's own authority.
    client.trust_env = endpoint.tls is None
    if endpoint.url.startswith("unix://"):
        socket_url = endpoint.url.replace("unix://", "http+unix://")
        client.mount("http+docker://", _Adapter(socket_url, seconds, max_pool_size=CONNECTIONS))
    return client


class _Connection(unixconn.UnixHTTPConnection):
    """The SDK's own leaves its socket open where nobody is there any more."""

    def connect(self) -> None:
        with contextlib.ExitStack() as stack:
            sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            sock.settimeout(self.timeout)
            sock.connect(self.unix_socket)
            stack.pop_all()
        self.sock = sock


class _Pool(unixconn.UnixHTTPConnectionPool):
    def _new_conn(self) -> Any:
        return _Connection(self.base_url, self.socket_path, self.timeout)  # type: ignore[arg-type] # typed by urllib3


class _Adapter(unixconn.UnixHTTPAdapter):
    def get_connection(self, url: Any, proxies: Any = None) -> Any:
        with self.pools.lock:
            if url not in self.pools.keys():  # noqa: SIM118 - a container that cannot be iterated over
                self.pools[url] = _Pool(url, self.socket_path, self.timeout, maxsize=self.max_pool_size)
        return super().get_connection(url, proxies)


def _knock(url: str) -> None:
    """Connect to an engine and hang up. Raises OSError where nobody is there.

    The SDK would leave a socket open for each try that fails, and say it with three exceptions.
    """
    parts = urlsplit(url)
    if parts.scheme == "unix":
        if refused := system.refusal(Path(parts.netloc + parts.path)):
            raise refused
    elif parts.hostname and parts.port:
        socket.create_connection((parts.hostname, parts.port), ANSWER_SECONDS).close()


def words(error: BaseException) -> str:
    """The engine's own words, without the stack of libraries around them."""
    if isinstance(error, OSError) and error.strerror and not isinstance(error, requests.RequestException):
        return error.strerror
    return str(getattr(error, "explanation", None) or error)


@contextlib.contextmanager
def wrapped(brief: str, kind: type[TareError] = InstanceError, *, hint: str = "") -> Iterator[None]:
    """Raise what the SDK raises as an error of ours, with the engine's own words."""
    try:
        yield
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise kind(brief, details=words(error), hint=hint) from error
