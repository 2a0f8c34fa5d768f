"""A Docker engine of another owner, for tests: whole, with a bridge, in mount and network namespaces of its own."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import select
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from tare_bench import cgroups, processes

_ENTER = 'ip link set lo up; if [ -d /run/containerd ]; then mount -t tmpfs tmpfs /run/containerd; fi; exec "$@"'
GROUP = 64999
"""The group that may talk to it; nobody's."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """What is running."""

    url: str
    pid: int
    client: docker.APIClient

    def belongings(self) -> dict[str, Any]:
        """All that it holds of others, as far as it must not change."""
        client = self.client
        containers = [client.inspect_container(each["Id"]) for each in client.containers(all=True)]
        images = [(each["Id"], sorted(each["RepoTags"] or [])) for each in client.images() if not _ours(each)]
        links = subprocess.run(
            ["nsenter", "-t", str(self.pid), "-n", "ip", "-o", "link"], capture_output=True, text=True, check=True
        ).stdout
        return {
            "containers": {each["Id"]: each["State"]["StartedAt"] for each in containers if each["State"]["Running"]},
            "images": sorted(images),
            "networks": sorted((each["Id"], each["Name"]) for each in client.networks()),
            "bridges": sorted(line.split()[1] for line in links.splitlines() if "docker0" in line or "br-" in line),
            "volumes": [each["Name"] for each in client.volumes()["Volumes"] or []],
        }

    def our_images(self) -> list[dict[str, Any]]:
        """Those with our label."""
        return [each for each in self.client.images() if _ours(each)]


def _ours(image: dict[str, Any]) -> bool:
    return "tare.rootfs" in (image["Labels"] or {})


@contextlib.contextmanager
def foreign(folder: Path, *options: str) -> Iterator[Foreign]:
    """Start one in that folder, which must be short. It ends with all that it holds."""
    url, group = f"unix://{folder}/docker.sock", f"foreign-{folder.name}"
    command = [
        "unshare", "-m", "-n", "/bin/sh", "-c", _ENTER, "foreign", "setpriv", "--pdeathsig", "TERM", "dockerd",
        f"--host={url}", f"--group={GROUP}", f"--data-root={folder}/data", f"--exec-root={folder}/exec",
        f"--pidfile={folder}/pid", f"--config-file={folder}/daemon.json", f"--cgroup-parent=/{group}",
        "--exec-opt=native.cgroupdriver=cgroupfs", "--iptables=false", "--ip6tables=false", "--log-level=warn",
        *options,
    ]  # fmt: skip
    (folder / "daemon.json").write_text("{}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, (folder / "log").open("wb") as log:
        notify.bind(str(folder / "notify"))
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, "NOTIFY_SOCKET": str(folder / "notify")},
        )  # fmt: skip
        try:
            _wait_ready(notify, process, folder / "log")
            with contextlib.closing(docker.APIClient(base_url=url, version="auto")) as client:
                yield Foreign(url, process.pid, client)
                for each in client.containers(all=True):
                    client.remove_container(each["Id"], force=True)
        finally:
            _end(process)
            cgroups.remove([each for each in cgroups.roots(group) if each.is_dir()])
            shutil.rmtree(folder / "data", ignore_errors=True)


def _wait_ready(notify: socket.socket, process: subprocess.Popen[bytes], log: Path) -> None:
    ended = os.pidfd_open(process.pid)
    try:
        while True:
            seen = select.select([notify.fileno(), ended], [], [], 60)[0]
            if notify.fileno() in seen and b"READY=1" in notify.recv(4096):
                return
            assert seen, log.read_text()
            assert ended not in seen, log.read_text()
    finally:
        os.close(ended)


def _end(process: subprocess.Popen[bytes]) -> None:
    below = [(pid, processes.start_time(pid)) for pid in processes.descendants(process.pid)]
    process.terminate()
    process.wait(30)
    for pid, started in below:
        processes.kill(pid, started)
        processes.wait_gone(pid, started, 30)


def write_context(settings: Path, name: str, host: str, *pems: Path) -> None:
    """A context as the docker command writes it, in a folder of settings; with what TLS takes."""
    key = hashlib.sha256(name.encode()).hexdigest()
    meta, tls = settings / "contexts" / "meta" / key, settings / "contexts" / "tls" / key / "docker"
    meta.mkdir(parents=True)
    stated = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": False}}}
    (meta / "meta.json").write_text(json.dumps(stated))
    for pem in pems:
        tls.mkdir(parents=True, exist_ok=True)
        shutil.copy(pem, tls / pem.name)


def furnish(client: docker.APIClient) -> str:
    """Give it a container that runs, from an image of its own, on a bridge of its own. Returns the container's id."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        busybox = shutil.which("busybox")
        assert busybox is not None
        tar.add(busybox, "bin/busybox")
    client.import_image_from_data(packed.getvalue(), repository="theirs", tag="1")
    client.create_network("their-bridge", driver="bridge")
    host = client.create_host_config(network_mode="their-bridge")
    made = client.create_container(
        "theirs:1", ["/bin/busybox", "sleep", "7655"], name="their-container", host_config=host, labels={"of": "them"}
    )
    client.start(made["Id"])
    return str(made["Id"])
