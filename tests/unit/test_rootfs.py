"""The rootfs: what its digest is over, what is cleaned away, and that an interrupted build is not taken for one."""

from __future__ import annotations

import bz2
import fcntl
import gzip
import io
import lzma
import os
import signal
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tare_bench import apt, cache, rootfs, tarball, tool
from tare_bench.errors import ImageError, UsageError

Entry = tuple[str, bytes | str | None]
"""A path with its content (bytes), its link target (text), or None for a folder."""

SHELL: Entry = ("bin/sh", b"#!shell")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TARE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def make_tar(path: Path, *entries: Entry, mtime: int = 1, mode: int = 0o755, uid: int = 0, hard: str = "") -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in entries:
            member = tarfile.TarInfo(name)
            member.mtime, member.mode, member.uid = mtime, mode, uid
            if content is None:
                member.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                member.type, member.linkname = tarfile.LNKTYPE if name == hard else tarfile.SYMTYPE, content
            else:
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return path


def digest(tmp_path: Path, *entries: Entry, mtime: int = 1, mode: int = 0o755, uid: int = 0, hard: str = "") -> str:
    source = make_tar(tmp_path / "in.tar", SHELL, *entries, mtime=mtime, mode=mode, uid=uid, hard=hard)
    return tarball.normalise(source, tmp_path / "out.tar").digest


def test_digest_is_of_the_content_and_not_of_dates_or_order(tmp_path: Path) -> None:
    one = digest(tmp_path, ("a", b"1"), ("b", b"2"), mtime=1)
    assert one == digest(tmp_path, ("./b", b"2"), ("/a", b"1"), mtime=999)
    assert one.startswith("sha256:")


@pytest.mark.parametrize(
    "changed",
    [
        {"mode": 0o700},
        {"uid": 1000},
    ],
)
def test_digest_sees_modes_and_owners(tmp_path: Path, changed: dict[str, int]) -> None:
    assert digest(tmp_path, ("a", b"1")) != digest(tmp_path, ("a", b"1"), **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize("other", [("a", b"2"), ("c", b"1"), ("a", "1"), ("a", None)])
def test_digest_sees_content_path_type_and_target(tmp_path: Path, other: Entry) -> None:
    assert digest(tmp_path, ("a", b"1")) != digest(tmp_path, other)


def test_a_hard_link_keeps_its_content_and_does_not_count_twice(tmp_path: Path) -> None:
    source = make_tar(tmp_path / "in.tar", SHELL, ("z", b"12345"), ("a", "./z"), hard="a")
    content = tarball.normalise(source, tmp_path / "out.tar")
    assert content.size == len(b"#!shell") + 5
    with tarfile.open(tmp_path / "out.tar") as tar:
        read = [stream.read() for name in ("./a", "./z") if (stream := tar.extractfile(name)) is not None]
    assert read == [b"12345", b"12345"]


def test_a_hard_link_to_nothing_is_an_error(tmp_path: Path) -> None:
    source = make_tar(tmp_path / "in.tar", SHELL, ("a", "gone"), hard="a")
    with pytest.raises(ImageError, match="/gone"):
        tarball.normalise(source, tmp_path / "out.tar")


def test_the_hosts_state_is_cleaned_away(tmp_path: Path) -> None:
    foreign: list[Entry] = [
        ("etc/machine-id", b"secret"),
        ("etc/hostname", b"secret"),
        ("var/log/dpkg.log", b"secret"),
        ("var/cache/ldconfig/aux-cache", b"secret"),
        ("etc/apt/apt.conf.d/99proxy", b"secret"),
        ("etc/shadow-", b"secret"),
        ("dev/null", b"secret"),
        ("etc/resolv.conf", "../run/systemd/resolve/secret"),
    ]
    assert digest(tmp_path, *foreign) == digest(tmp_path)
    assert b"secret" not in (tmp_path / "out.tar").read_bytes()


def test_what_every_driver_mounts_over_is_there(tmp_path: Path) -> None:
    digest(tmp_path, ("tmp", "/elsewhere"))
    with tarfile.open(tmp_path / "out.tar") as tar:
        found = {member.name: member for member in tar}
    assert found["./tmp"].isdir()
    assert found["./tmp"].mode == 0o1777
    assert found["./work"].mode == 0o755
    assert "./run/tare" in found


def test_without_a_shell_it_is_refused(tmp_path: Path) -> None:
    source = make_tar(tmp_path / "in.tar", ("bin", None), ("usr/bin/sh", b""))
    with pytest.raises(ImageError, match="no /bin/sh"):
        tarball.normalise(source, tmp_path / "out.tar")


def test_a_merged_usr_has_its_shell(tmp_path: Path) -> None:
    source = make_tar(tmp_path / "in.tar", ("bin", "usr/bin"), ("usr/bin/sh", "dash"), ("usr/bin/dash", b"#!"))
    assert tarball.normalise(source, tmp_path / "out.tar").size == 2


def test_no_tar_file(tmp_path: Path) -> None:
    (tmp_path / "in.tar").write_text("text")
    with pytest.raises(ImageError, match="cannot be read"):
        tarball.normalise(tmp_path / "in.tar", tmp_path / "out.tar")


def cut_between_members(path: Path) -> None:
    with tarfile.open(path) as tar:
        tar.getmembers()
        end = tar.offset
    os.truncate(path, end)


def cut_in_a_member(path: Path) -> None:
    os.truncate(path, 600)


def pack_and_cut(path: Path) -> None:
    path.write_bytes(gzip.compress(path.read_bytes())[:-20])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (cut_between_members, "cannot be read as a tar file"),
        (cut_in_a_member, "cannot be read as a tar file"),
        (pack_and_cut, "cannot be unpacked"),
        (lambda path: path.write_bytes(b"QFI\xfb" + bytes(10_000)), "no tar file\nIt is a qcow2 disk image"),
        (lambda path: path.write_bytes(b""), "no tar file"),
        (lambda path: path.write_text("text"), "no tar file"),
    ],
)
def test_what_is_no_whole_tar_file_is_refused_and_leaves_nothing(
    tmp_path: Path, own_cache: Path, spoil: Callable[[Path], object], words: str
) -> None:
    source = make_tar(tmp_path / "mine.tar", SHELL, ("more", bytes(5000)))
    spoil(source)
    with pytest.raises(ImageError) as caught:
        rootfs.build(str(source))
    assert words in str(caught.value)
    assert str(source) in caught.value.brief
    assert caught.value.hint
    assert [path.name for path in (own_cache / "rootfs").iterdir()] == [".lock"]


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress])
def test_a_packed_tar_file_is_the_same_rootfs(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    source = make_tar(tmp_path / "mine.tar", SHELL)
    (tmp_path / "packed").write_bytes(pack(source.read_bytes()))
    assert rootfs.build(str(tmp_path / "packed")).digest == rootfs.build(str(source)).digest


def program(machine: int) -> bytes:
    return b"\x7fELF\x02\x01" + bytes(12) + machine.to_bytes(2, "little") + bytes(44)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([("bin/sh", "busybox")], "no /bin/sh"),
        ([("bin/sh", "sh")], "no /bin/sh"),
        ([("bin/sh", None)], "no /bin/sh"),
        ([("bin/sh", b"just text")], "its /bin/sh is no program"),
        ([("bin/sh", "/usr/bin/dash"), ("usr/bin/dash", program(8))], "its /usr/bin/dash is a program for another"),
    ],
)
def test_a_shell_that_cannot_run_is_none(tmp_path: Path, entries: list[Entry], words: str) -> None:
    source = make_tar(tmp_path / "in.tar", *entries)
    with pytest.raises(ImageError, match=words):
        tarball.normalise(source, tmp_path / "out.tar")


def test_a_shell_that_is_not_executable_is_none(tmp_path: Path) -> None:
    source = make_tar(tmp_path / "in.tar", SHELL, mode=0o644)
    with pytest.raises(ImageError, match="not executable"):
        tarball.normalise(source, tmp_path / "out.tar")


@pytest.mark.parametrize(
    "entries",
    [
        [("bin", "/usr/bin"), ("usr/bin", None), ("usr/bin/sh", "../../opt/./sh"), ("opt/sh", b"#!")],
        [("bin/sh", "/bin/busybox"), ("bin/busybox", Path("/proc/self/exe").read_bytes()[:64])],
    ],
)
def test_a_shell_is_followed_to_where_it_is(tmp_path: Path, entries: list[Entry]) -> None:
    assert tarball.normalise(make_tar(tmp_path / "in.tar", *entries), tmp_path / "out.tar").size > 0


def test_packages_are_the_installed_ones() -> None:
    status = b"Package: b\nStatus: install ok installed\nVersion: 2\nDescription: x\n more\n\n"
    status += b"Package: a\nStatus: deinstall ok config-files\nVersion: 1\n"
    assert tarball.packages(status) == {"b": "2"}


def test_build_from_a_tar_file_is_cached(tmp_path: Path, own_cache: Path) -> None:
    source = make_tar(tmp_path / "mine.tar", SHELL, uid=os.getuid())
    first = rootfs.build(str(source))
    assert first.tar.is_file()
    assert first.folder == own_cache / "rootfs" / first.digest.removeprefix("sha256:")[:16]
    assert first.facts().recipe == f"the file {source}"
    (first.folder / "rootfs.tar").write_bytes(b"not built again")
    assert rootfs.build(str(source)) == first
    assert first.tar.read_bytes() == b"not built again"
    assert rootfs.cached() == [first]


def test_a_changed_tar_file_is_built_again(tmp_path: Path) -> None:
    source = make_tar(tmp_path / "mine.tar", SHELL)
    first = rootfs.build(str(source))
    make_tar(source, SHELL, ("more", b"."))
    assert rootfs.build(str(source)).digest != first.digest


def test_build_from_a_folder(tmp_path: Path) -> None:
    (tmp_path / "tree/bin").mkdir(parents=True)
    (tmp_path / "tree/bin/sh").write_text("#!shell")
    (tmp_path / "tree/bin/sh").chmod(0o755)
    assert rootfs.build(str(tmp_path / "tree")).size == 7


def test_an_unknown_reference_names_what_is_possible() -> None:
    with pytest.raises(UsageError, match="default"):
        rootfs.build("debain")


def test_a_failed_build_leaves_nothing(tmp_path: Path, own_cache: Path) -> None:
    source = make_tar(tmp_path / "mine.tar", ("etc", None))
    with pytest.raises(ImageError):
        rootfs.build(str(source))
    assert [path.name for path in (own_cache / "rootfs").iterdir()] == [".lock"]


def test_what_a_dead_build_left_is_removed(tmp_path: Path) -> None:
    with cache.area(tmp_path / "area", say=print) as area:
        (area / ".new-dead").mkdir()
        (area / "whole").mkdir()
    with cache.area(tmp_path / "area", say=print) as area:
        assert sorted(path.name for path in area.iterdir()) == [".lock", "whole"]


def test_what_was_published_first_stays(tmp_path: Path) -> None:
    (tmp_path / "final").mkdir()
    (tmp_path / "final/mine").touch()
    with cache.staged(tmp_path) as temporary:
        cache.publish(temporary, tmp_path / "final")
    assert (tmp_path / "final/mine").exists()
    assert not temporary.exists()


def test_folders_of_the_cache_can_be_passed_through(tmp_path: Path) -> None:
    previous = os.umask(0o077)
    try:
        cache.make_folder(tmp_path / "a/b")
    finally:
        os.umask(previous)
    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o711
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o711


def test_a_failing_program_is_quoted() -> None:
    with pytest.raises(ImageError) as caught:
        tool.run(["sh", "-c", "echo the reason >&2; exit 3"])
    assert caught.value.details == "the reason"
    assert "exit status 3" in caught.value.brief


def test_a_missing_program_names_the_way_out() -> None:
    with pytest.raises(ImageError) as caught:
        tool.run(["tare-no-such-program"])
    assert "tare setup" in caught.value.hint


DEB822 = """\
Types: deb deb-src
URIs: mirror+file:/etc/apt/mirrors/debian.list
Suites: bookworm bookworm-updates bookworm-backports
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc

# a comment
Types: deb
URIs: http://engine.invalid/linux/debian
Suites: bookworm
Components: stable

Enabled: no
Types: deb
URIs: http://off.invalid/
Suites: bookworm
Components: main
"""


def make_etc(tmp_path: Path, **files: str) -> Path:
    (tmp_path / "apt/sources.list.d").mkdir(parents=True)
    for name, text in files.items():
        (tmp_path / "apt/sources.list.d" / name.replace("_", ".")).write_text(text)
    return tmp_path / "apt"


def test_only_the_distributions_own_suites_are_taken(tmp_path: Path) -> None:
    sources = apt.sources("bookworm", make_etc(tmp_path, debian_sources=DEB822))
    assert "Types: deb\n" in sources
    assert "Suites: bookworm bookworm-updates\n" in sources
    assert " -----BEGIN PGP PUBLIC KEY BLOCK-----" in sources
    assert "invalid" not in sources


def test_one_line_sources(tmp_path: Path) -> None:
    etc = make_etc(
        tmp_path,
        other_list="deb [arch=amd64 signed-by=/usr/share/keyrings/foreign.gpg] http://foreign.invalid noble main\n",
    )
    (etc / "sources.list").write_text(
        "deb [arch=amd64,arm64] http://mirror.invalid/ubuntu noble main universe # ours\n"
        "deb-src http://mirror.invalid/ubuntu noble main\n"
        "deb cdrom:[Debian]/ noble main\n"
    )
    sources = apt.sources("noble", etc)
    assert "Architectures: amd64 arm64" in sources
    assert "Components: main universe" in sources
    assert sources.count("Types:") == 1
    assert "foreign" not in sources


def test_a_companys_signed_mirror_serves_where_there_is_no_other(tmp_path: Path) -> None:
    line = "deb [signed-by=/etc/apt/keyrings/company.gpg] http://mirror.invalid/debian trixie main\n"
    assert "company.gpg" in apt.sources("trixie", make_etc(tmp_path, company_list=line))


def test_no_source_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        apt.sources("bookworm", make_etc(tmp_path))
    assert "--rootfs" in caught.value.hint


def test_what_another_rootfs_needs_to_use_the_hosts_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt, "proxies", lambda: 'Acquire::http::Proxy "http://proxy.invalid";\n')
    (tmp_path / "certificates.crt").write_bytes(b"certificates")
    monkeypatch.setattr(apt, "_CERTIFICATES", tmp_path / "certificates.crt")
    etc = make_etc(tmp_path)
    (etc / "trusted.gpg.d").mkdir()
    (etc / "trusted.gpg.d/company.asc").write_bytes(b"trusted")
    (tmp_path / "own.gpg").write_bytes(b"key")
    signed = f"URIs: https://mirror.invalid\nSigned-By: {tmp_path}/own.gpg\n\n"
    files = apt.portable(signed + "Signed-By: /not/there.gpg\n", etc)
    own = "etc/apt/tare/" + f"{tmp_path}/own.gpg".strip("/").replace("/", "-")
    assert files[own] == b"key"
    assert files["etc/apt/trusted.gpg.d/company.asc"] == b"trusted"
    assert files["etc/apt/tare/certificates.crt"] == b"certificates"
    assert f"Signed-By: /{own}\n" in files["etc/apt/tare/tare.sources"].decode()
    assert "Signed-By: /not/there.gpg" in files["etc/apt/tare/tare.sources"].decode()
    configuration = files["etc/apt/apt.conf.d/99tare"].decode()
    assert "proxy.invalid" in configuration
    assert "/etc/apt/tare/tare.sources" in configuration
    assert all(name.startswith("etc/apt/") for name in files), "what stays in the rootfs is none of the host's"


def test_the_lock_is_held_as_long_as_what_was_started_lives(tmp_path: Path) -> None:
    """A build that is killed may leave its program running for a moment: nobody else may build until that has ended."""
    with cache.area(tmp_path / "area", say=print) as area:
        tool.run(["sh", "-c", f"sleep 600 </dev/null >/dev/null 2>&1 & echo $! >'{area}/pid'"])
    process = int((tmp_path / "area/pid").read_text())
    lock = os.open(tmp_path / "area/.lock", os.O_RDWR)
    try:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.kill(process, signal.SIGKILL)
        fcntl.flock(lock, fcntl.LOCK_EX)
    finally:
        os.close(lock)
