"""Which Docker engine is the user's: found as the docker command finds it.

An engine that is named (an option, DOCKER_HOST, a context) is that one or none. Only where nothing names one are the
usual sockets looked at, and may a private engine take its place.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import docker.errors
import docker.utils
from docker.tls import TLSConfig
from tare_bench import system
from tare_bench.errors import DriverUnavailable, UsageError
from tare_bench.registry import nearest

NO_ENGINE = "Start your engine, or `tare setup` and run as root: a private one is then started for the run."
NOT_ALLOWED = "Have an administrator run: usermod -aG docker {user}; then log in anew."
FORWARD = "ssh -nNT -L /tmp/engine.sock:/var/run/docker.sock HOST, and DOCKER_HOST=unix:///tmp/engine.sock"


class NoEngine(DriverUnavailable):
    """None was named, and none answers where engines usually listen: a private one may take its place."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an engine is to be reached."""

    url: str
    why: str
    """What named it, or that it was found."""
    named: bool
    tls: TLSConfig | None = None

    def __str__(self) -> str:
        return f"{self.url} ({self.why})"


def find(options: Mapping[str, str]) -> Endpoint:
    """The engine that an arm's options, the environment or the docker command's settings name, or one that listens.

    Raises DriverUnavailable for a name that leads nowhere, NoEngine where nothing is named and nobody listens.
    """
    host, context = options.get("host"), options.get("context")
    if host and context:
        raise UsageError("The options `host` and `context` both name an engine.", hint="Leave one of them out.")
    if host:
        return _at(host, "the option host")
    if context and context != "default":
        return _of_context(context, "the option context")
    named = None if context else system.named_engine()
    if named is None:
        return _listening()
    by, name = named
    return _at(name, by) if by == "DOCKER_HOST" else _of_context(name, by)


def _at(url: str, why: str) -> Endpoint:
    """An address, with what DOCKER_TLS_VERIFY and DOCKER_CERT_PATH say of it."""
    try:
        tls = docker.utils.kwargs_from_env({**os.environ, "DOCKER_HOST": url}).get("tls")
    except docker.errors.DockerException as error:
        hint = "Look at DOCKER_CERT_PATH and DOCKER_TLS_VERIFY."
        raise DriverUnavailable(f"The engine at {url} cannot be asked.", details=str(error), hint=hint) from error
    return _measurable(Endpoint(url, why, named=True, tls=tls or None))


def _of_context(name: str, by: str) -> Endpoint:
    """A context of the docker command.

    Read here, because the SDK's own reader finds none where there is no config.json beside them, as long as none was
    made the current one, and takes a name that it doesn't know for the default.
    """
    key = hashlib.sha256(name.encode()).hexdigest()
    folder = system.docker_config() / "contexts"
    file = folder / "meta" / key / "meta.json"
    try:
        stated = json.loads(file.read_text())["Endpoints"]["docker"]
        # the SDK writes http+unix:// where the docker command writes unix://
        url, verify = str(stated["Host"]).removeprefix("http+"), not stated.get("SkipTLSVerify", False)
    except FileNotFoundError:
        brief, hint = f"There is no Docker context named `{name}`.", nearest(name, ["default", *_names(folder)])
        raise DriverUnavailable(brief, details=f"it is named by {by}", hint=hint) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        brief, hint = f"The Docker context `{name}` cannot be read.", f"docker context inspect {name}"
        raise DriverUnavailable(brief, details=f"{file}: {error!r}", hint=hint) from error
    tls = _tls(folder / "tls" / key / "docker", verify=verify)
    return _measurable(Endpoint(url, f"the context {name}, by {by}", named=True, tls=tls))


def _names(folder: Path) -> Iterator[str]:
    for file in sorted(folder.glob("meta/*/meta.json")):
        try:
            yield str(json.loads(file.read_text())["Name"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # one that cannot be read must not hide the others


def _tls(folder: Path, *, verify: bool) -> TLSConfig | None:
    """What the docker command keeps beside a context: ca.pem, cert.pem, key.pem, or some of them."""
    ca, cert, key = (folder / name for name in ("ca.pem", "cert.pem", "key.pem"))
    pair = (str(cert), str(key)) if cert.is_file() and key.is_file() else None
    if pair is None and not ca.is_file():
        return None
    return TLSConfig(client_cert=pair, ca_cert=str(ca) if ca.is_file() else None, verify=verify)


def _measurable(endpoint: Endpoint) -> Endpoint:
    if endpoint.url.startswith("ssh://"):
        details = f"{endpoint}: the stream to a container would be a program's, which cannot be waited for"
        raise DriverUnavailable("An engine is not measured through ssh://.", details=details, hint=FORWARD)
    return endpoint


def _listening() -> Endpoint:
    """The first of the usual sockets at which somebody listens."""
    refusals = {path: system.refusal(path) for path in system.engine_sockets()}
    for path, refused in refusals.items():
        if refused is None:
            return Endpoint(f"unix://{path}", "it listens there, and nothing names another", named=False)
    for path, refused in refusals.items():
        if isinstance(refused, PermissionError):
            raise NoEngine(
                "The Docker engine does not let you in.", details=f"{path}: {refused.strerror}", hint=_allowed()
            )
    path, refused = next(iter(refusals.items()))
    assert refused is not None
    raise NoEngine("No Docker engine answers.", details=f"{path}: {refused.strerror or refused}", hint=NO_ENGINE)


def _allowed() -> str:
    return NOT_ALLOWED.format(user=getpass.getuser())
