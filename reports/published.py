"""What others have published, for orientation: other machines, other clocks. Never mixed into a run's own numbers."""

from __future__ import annotations

from dataclasses import dataclass

from .language import N_, _


@dataclass(frozen=True, slots=True)
class Published:
    """One figure, with what its clock was."""

    what: str
    figures: str
    counted: str
    source: str


_IBM = "IBM RC25482 (2014), github.com/thewmf/kvm-docker-comparison"
_FIRECRACKER = "Firecracker, NSDI 2020"
_LIGHTVM = "LightVM, SOSP 2017"
_GVISOR = "gVisor, performance guide"

_FOUND = (
    (
        N_("Boot of a microVM"),
        N_("161 ms, 125 ms and 110 ms: the same 500 boots of Firecracker; QEMU 244 ms"),
        N_("from the caller; to the guest's init by the monitor's clock; in the monitor's log"),
        _FIRECRACKER,
    ),
    (
        N_("Start of an empty container"),
        N_("runc 1193 ms, runsc 1144 ms"),
        N_("docker run from the client: most of it is the engine itself"),
        _GVISOR,
    ),
    (
        N_("Start of a unikernel"),
        N_("2.3 ms; fork and exec about 1 ms"),
        N_("with a toolstack of its own: the toolstack was the bottleneck, not the hypervisor"),
        _LIGHTVM,
    ),
    (
        N_("Memory of a guest of 128 MiB"),
        N_("Firecracker 132.5 MB, QEMU 147.6 MB"),
        N_("resident set of the monitor, guest memory included"),
        _FIRECRACKER,
    ),
    (
        N_("Memory of an empty container"),
        N_("runc 4.1 MB, runsc 23.7 MB"),
        N_("growth of the host's use, divided by the number of instances"),
        _GVISOR,
    ),
    (
        N_("Linpack on two sockets"),
        N_("native 290.8, Docker 290.9, KVM 130.3 GFLOPS; KVM pinned and with topology 284.2"),
        N_("the tool's own result: tuning moved it by more than the technology did"),
        _IBM,
    ),
    (
        N_("Random reads of 4 KiB at depth 128"),
        N_("native 84.0k, Docker 84.1k, KVM 46.2k a second"),
        N_("fio on a fast array"),
        _IBM,
    ),
    (
        N_("Redis GET at 1, 10 and 50 connections"),
        N_("native 16.2k, 105.5k, 105.5k; Docker behind NAT 13.1k, 69.1k, 78.7k; KVM 8.3k, 57.2k, 93.1k a second"),
        N_("over a network: at 50 connections KVM leads Docker behind NAT, at 10 it is behind everything"),
        _IBM,
    ),
)


def published() -> tuple[Published, ...]:
    """All of them, in the language of the page."""
    return tuple(Published(_(what), _(figures), _(counted), source) for what, figures, counted, source in _FOUND)
