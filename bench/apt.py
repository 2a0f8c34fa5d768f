"""The host's package manager: its own sources (Tare names no mirror itself), and what is had from them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import tool
from .errors import ImageError

Stanza = Mapping[str, str]
"""A deb822 stanza; a value keeps its continuation lines."""

ETC = Path("/etc/apt")

_OPTION_FIELDS = {
    "arch": "Architectures",
    "lang": "Languages",
    "signed-by": "Signed-By",
    "trusted": "Trusted",
    "check-valid-until": "Check-Valid-Until",
    "allow-insecure": "Allow-Insecure",
}
_ALIASES = frozenset({"stable", "oldstable", "oldoldstable", "testing"})
_POCKETS = ("", "-updates", "-security", "/updates")
_LISTS = Path("/var/lib/apt/lists")
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_QUIET = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1"}
_PROXY_OPTIONS = ("Acquire::http::Proxy", "Acquire::https::Proxy", "Acquire::http::Proxy-Auto-Detect")


def sources(codename: str, etc: Path = ETC) -> str:
    """The sources of the distribution's own suites, in deb822 format.

    A third party's repository is left out: it would change what is measured, and may want a key that is not there.
    Raises ImageError where no source of this distribution is found.
    """
    own = [own for stanza in _read(etc) if (own := _narrowed(stanza, codename)) is not None]
    signed = [stanza for stanza in own if _distribution_signed(stanza)]
    # a company's mirror may be signed by the company: then what is there is taken
    chosen = signed if any(_has_release(stanza, codename) for stanza in signed) else own
    if not any(_has_release(stanza, codename) for stanza in chosen):
        raise ImageError(
            f"no package source for {codename} in {etc}",
            details="The rootfs is made from the packages of the distribution that the host runs.",
            hint="add the distribution's own source to apt, or name a rootfs: --rootfs FOLDER or --rootfs FILE.tar",
        )
    return "\n\n".join(_text(stanza) for stanza in chosen) + "\n"


def proxies() -> str:
    """The proxy settings of the host's apt, as an apt configuration file; empty where there are none."""
    dumped = tool.run(["apt-config", "dump", "--format", '%f "%v";%n', *_PROXY_OPTIONS]).decode()
    return "".join(f"{line}\n" for line in dumped.splitlines() if line and not line.endswith(' "";'))


def portable(sources: str, etc: Path = ETC) -> dict[str, bytes]:
    """What the apt of another root filesystem needs to use these sources: files by their paths there.

    All of it lies in /etc/apt: the sources alone, with the keys that they name; the host's other keys, its
    certificates where they are needed, and its proxies.
    """
    own, files = "etc/apt/tare", dict[str, bytes]()
    for key in sorted(set(re.findall(r"(?<![^\s,])/[^\s,]+\.(?:gpg|asc)\b", sources))):
        if (content := _readable(Path(key))) is not None:
            name = f"{own}/{key.strip('/').replace('/', '-')}"
            files[name] = content
            sources = sources.replace(key, f"/{name}")
    for path in sorted((etc / "trusted.gpg.d").glob("*")):
        if path.suffix in (".gpg", ".asc") and (content := _readable(path)) is not None:
            files[f"etc/apt/trusted.gpg.d/{path.name}"] = content
    configuration = f'{proxies()}Dir::Etc::SourceList "/{own}/tare.sources";\nDir::Etc::SourceParts "/dev/null";\n'
    if "https:" in sources and (content := _readable(_CERTIFICATES)) is not None:
        files[f"{own}/certificates.crt"] = content
        configuration += f'Acquire::https::CaInfo "/{own}/certificates.crt";\n'
    return files | {f"{own}/tare.sources": sources.encode(), "etc/apt/apt.conf.d/99tare": configuration.encode()}


def _readable(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _read(etc: Path) -> list[Stanza]:
    parts = etc / "sources.list.d"
    one_line = [etc / "sources.list", *sorted(parts.glob("*.list"))]
    found = [stanza for path in one_line if path.is_file() for stanza in _from_lines(_lines(path))]
    for path in sorted(parts.glob("*.sources")):
        found += from_deb822(_lines(path))
    return found


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except PermissionError:
        return []  # a private repository's credentials; the distribution's own sources are readable


def _from_lines(lines: Iterable[str]) -> list[Stanza]:
    return [stanza for line in lines if (stanza := _from_line(line.partition("#")[0].strip())) is not None]


def _from_line(line: str) -> Stanza | None:
    """`deb [options] URI suite component...` as a stanza; None for anything else."""
    if not line.startswith("deb "):
        return None
    rest, options = line[4:].strip(), ""
    if rest.startswith("["):
        options, _, rest = rest[1:].partition("]")
    words = rest.split()
    if len(words) < 3 or words[0].startswith("cdrom:"):
        return None
    stanza = {"Types": "deb", "URIs": words[0], "Suites": words[1], "Components": " ".join(words[2:])}
    for option in options.split():
        key, _, value = option.partition("=")
        if key in _OPTION_FIELDS:
            stanza[_OPTION_FIELDS[key]] = value.replace(",", " ")
    return stanza


def from_deb822(lines: Iterable[str]) -> list[Stanza]:
    """The stanzas of a `.sources` file, without comments."""
    stanzas: list[dict[str, str]] = [{}]
    field = ""
    for line in lines:
        if line.startswith("#"):
            continue
        if not line.strip():
            stanzas.append({})
        elif line[0] in " \t" and field in stanzas[-1]:
            stanzas[-1][field] += "\n" + line
        else:
            field, _, value = line.partition(":")
            stanzas[-1][field] = value.strip()
    return [stanza for stanza in stanzas if stanza]


def _narrowed(stanza: Stanza, codename: str) -> Stanza | None:
    """The stanza with only the binary packages of this release's suites; None where nothing is left."""
    suites = [suite for suite in stanza.get("Suites", "").split() if _is_ours(suite, codename)]
    enabled = stanza.get("Enabled", "yes").lower() not in ("no", "false", "0")
    usable = enabled and "deb" in stanza.get("Types", "").split() and "main" in stanza.get("Components", "").split()
    return {**stanza, "Types": "deb", "Suites": " ".join(suites)} if usable and suites else None


def _is_ours(suite: str, codename: str) -> bool:
    return any(suite == base + pocket for base in (codename, *_ALIASES) for pocket in _POCKETS)


def _has_release(stanza: Stanza, codename: str) -> bool:
    return any(suite in (codename, *_ALIASES) for suite in stanza["Suites"].split())


def _distribution_signed(stanza: Stanza) -> bool:
    """Whether the distribution's own key is asked for, or none in particular, as in a plain `deb` line."""
    key = stanza.get("Signed-By", "")
    return not key or Path(key.split()[0]).name.startswith(("debian-archive-", "ubuntu-archive-"))


def _text(stanza: Stanza) -> str:
    return "\n".join(f"{field}: {value}" for field, value in stanza.items())


@dataclass(frozen=True, slots=True)
class Failure:
    """A package that could not be installed, and apt's own last words on it."""

    package: str
    reason: str


def install(names: Sequence[str], *, say: Callable[[str], None]) -> list[Failure]:
    """Install packages, all that can be had of them, and return those that can't. As root only.

    The lists are fetched where they are missing or don't know a package. No question is asked, no recommended package
    is added, and no running service is restarted.
    """
    if not any(_LISTS.glob("*_Packages*")):
        _update(say)
    failure = _install(names)
    if failure is not None:
        _update(say)  # a package that isn't known, or is no longer at the address that the lists have
        failure = _install(names)
    if failure is None:
        return []
    if len(names) == 1:
        return [failure]
    say("not all at once; one by one")
    return [failure for name in names if (failure := _install([name])) is not None]


def install_command(names: Sequence[str]) -> str:
    """The command that a user types for what `install` does."""
    return f"apt-get install --no-install-recommends {' '.join(names)}"


def fetch(packages: Sequence[tuple[str, str]], scratch: Path) -> Path:
    """Download packages (name and version; an empty version is apt's choice) and unpack them without installing.

    Returns the folder that they are unpacked in, below `scratch`. Nothing on the host is changed.
    """
    root = scratch / "root"
    for name, version in packages:
        wanted = f"{name}={version}" if version else name
        # apt-get download writes where it stands
        tool.run(["env", f"--chdir={scratch}", "apt-get", "--quiet", "download", wanted], seconds=tool.LARGE)
    for package in sorted(scratch.glob("*.deb")):
        tool.run(["dpkg-deb", "--extract", package, root], seconds=tool.LARGE)
    return root


def _update(say: Callable[[str], None]) -> None:
    say("apt-get update")
    # an old list may do where a mirror doesn't answer: what is missing then is seen at the installing
    with contextlib.suppress(ImageError):
        tool.run(["apt-get", "--quiet", "update"], env=_QUIET, seconds=tool.LARGE)


def _install(names: Sequence[str]) -> Failure | None:
    try:
        argv = ["apt-get", "--quiet", "--yes", "--no-install-recommends", "install", *names]
        tool.run(argv, env=_QUIET, seconds=tool.LARGE)
    except ImageError as error:
        return Failure(" ".join(names), error.details or error.brief)
    return None
