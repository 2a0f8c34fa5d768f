"""What a private engine's copy of the rootfs takes on the disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tare_bench.drivers import docker_endpoint, docker_images, private_engine


@pytest.mark.parametrize(("name", "needed"), [("aaaaaaaaaaaaaaaa", False), ("bbbbbbbbbbbbbbbb", True)])
def test_a_private_engines_copy_is_counted_until_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, needed: bool
) -> None:
    def nobody(options: object) -> None:
        raise docker_endpoint.NoEngine("No Docker engine answers.")

    monkeypatch.setattr(docker_endpoint, "find", nobody)
    monkeypatch.setattr(private_engine, "possible", lambda: True)
    monkeypatch.setenv("TARE_STATE", str(tmp_path))
    book = tmp_path / "docker/image/overlay2/repositories.json"
    book.parent.mkdir(parents=True)
    book.write_text(json.dumps({"Repositories": {"tare/rootfs": {f"tare/rootfs:{'a' * 16}": "sha256:1"}}}))
    assert docker_images.import_needed(f"sha256:{name}", 100) == (100 if needed else 0)
