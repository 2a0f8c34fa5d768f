"""Which engine is taken, and why: in the docker command's own order."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker.context import ContextAPI
from engines import write_context
from tare_bench import system
from tare_bench.drivers import docker_endpoint
from tare_bench.drivers.docker_endpoint import NoEngine
from tare_bench.errors import DriverUnavailable, UsageError


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The docker command's, with two contexts; nothing in the environment names an engine, and none listens."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "settings"
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    monkeypatch.setattr(system, "engine_sockets", lambda: [tmp_path / "system.sock", tmp_path / "rootless.sock"])
    write_context(folder, "rootless", "unix:///rootless.sock")
    write_context(folder, "desktop", "unix:///desktop.sock")
    return folder


@pytest.fixture
def rootless(tmp_path: Path) -> Iterator[Path]:
    """Somebody listens at the second of the usual sockets."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "rootless.sock"))
        server.listen()
        yield tmp_path / "rootless.sock"


def test_each_name_beats_the_next(settings: Path, monkeypatch: pytest.MonkeyPatch, rootless: Path) -> None:
    found = docker_endpoint.find({})
    assert (found.url, found.named) == (f"unix://{rootless}", False)
    (settings / "config.json").write_text(json.dumps({"currentContext": "desktop"}))
    found = docker_endpoint.find({})
    assert (found.url, found.named) == ("unix:///desktop.sock", True)
    assert "config.json" in found.why
    monkeypatch.setenv("DOCKER_CONTEXT", "rootless")
    assert str(docker_endpoint.find({})) == "unix:///rootless.sock (the context rootless, by DOCKER_CONTEXT)"
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    assert str(docker_endpoint.find({})) == "tcp://127.0.0.1:1 (DOCKER_HOST)"
    assert docker_endpoint.find({"context": "desktop"}).url == "unix:///desktop.sock"
    assert str(docker_endpoint.find({"host": "unix:///mine.sock"})) == "unix:///mine.sock (the option host)"


@pytest.mark.parametrize("where", ["option", "environment"])
def test_the_context_default_is_no_name(
    settings: Path, monkeypatch: pytest.MonkeyPatch, rootless: Path, where: str
) -> None:
    (settings / "config.json").write_text(json.dumps({"currentContext": "desktop"}))
    if where == "environment":
        monkeypatch.setenv("DOCKER_CONTEXT", "default")
    found = docker_endpoint.find({"context": "default"} if where == "option" else {})
    assert (found.url, found.named) == (f"unix://{rootless}", False)
    assert system.named_engine() is None or where == "option"


def test_a_context_that_the_sdk_has_written_is_read(settings: Path) -> None:
    (settings / "config.json").write_text("{}")
    ContextAPI.create_context("by-sdk", host="unix:///sdk.sock")
    assert docker_endpoint.find({"context": "by-sdk"}).url == "unix:///sdk.sock"


def test_two_names_at_once_are_refused() -> None:
    with pytest.raises(UsageError, match="both name an engine"):
        docker_endpoint.find({"host": "unix:///a", "context": "desktop"})


def test_an_unknown_context_names_the_nearest(settings: Path) -> None:
    (settings / "contexts" / "meta" / "broken").mkdir()
    (settings / "contexts" / "meta" / "broken" / "meta.json").write_text("{")
    with pytest.raises(DriverUnavailable, match="no Docker context named `dekstop`") as caught:
        docker_endpoint.find({"context": "dekstop"})
    assert caught.value.hint == "Did you mean `desktop`?"
    assert not isinstance(caught.value, NoEngine)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"Endpoints": {}}', '{"Endpoints": {"docker": null}}'])
def test_a_context_that_cannot_be_read_is_said_so(settings: Path, text: str) -> None:
    [file] = [each for each in settings.glob("contexts/meta/*/meta.json") if "desktop" in each.read_text()]
    file.write_text(text)
    with pytest.raises(DriverUnavailable, match="`desktop` cannot be read") as caught:
        docker_endpoint.find({"context": "desktop"})
    assert str(file) in caught.value.details


def test_settings_that_cannot_be_read_name_nothing(settings: Path, rootless: Path) -> None:
    for text in ("", "[]", '{"currentContext": 1}', "\0"):
        (settings / "config.json").write_text(text)
        assert docker_endpoint.find({}).url == f"unix://{rootless}"


@pytest.mark.parametrize(("pems", "pair"), [(("ca.pem",), False), (("ca.pem", "cert.pem", "key.pem"), True)])
@pytest.mark.parametrize("skip", [True, False])
def test_tls_is_taken_from_the_context(
    settings: Path, tmp_path: Path, pems: tuple[str, ...], pair: bool, skip: bool
) -> None:
    for name in pems:
        (tmp_path / name).write_text(name)
    write_context(settings, "far", "tcp://127.0.0.1:1", *(tmp_path / name for name in pems))
    [file] = [each for each in settings.glob("contexts/meta/*/meta.json") if '"far"' in each.read_text()]
    file.write_text(file.read_text().replace("false", str(skip).lower()))
    tls = docker_endpoint.find({"context": "far"}).tls
    assert tls is not None
    assert tls.verify is not skip
    assert Path(str(tls.ca_cert)).read_text() == "ca.pem"
    assert (tls.cert is not None) is pair


def test_certificates_that_are_not_there_are_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    with pytest.raises(DriverUnavailable) as caught:
        docker_endpoint.find({"host": "tcp://127.0.0.1:1"})
    assert "DOCKER_CERT_PATH" in caught.value.hint


def test_ssh_is_refused_with_the_way_round_it(settings: Path) -> None:
    write_context(settings, "far", "ssh://user@host.invalid")
    for options in ({"host": "ssh://host.invalid"}, {"context": "far"}):
        with pytest.raises(DriverUnavailable, match="not measured through ssh") as caught:
            docker_endpoint.find(options)
        assert "ssh -nNT -L" in caught.value.hint


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(NoEngine, match="No Docker engine answers") as caught:
        docker_endpoint.find({})
    assert str(tmp_path / "system.sock") in caught.value.details


def test_who_is_not_let_in_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = tmp_path / "rootless.sock"
    refused = PermissionError(13, "Permission denied")
    monkeypatch.setattr(system, "refusal", lambda path: refused if path == closed else FileNotFoundError(2, "none"))
    with pytest.raises(NoEngine, match="does not let you in") as caught:
        docker_endpoint.find({})
    assert "usermod -aG docker" in caught.value.hint
    assert system.engine_there()  # and nothing is to be installed
