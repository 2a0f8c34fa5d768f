"""The answer in words, by every rule that makes them, in English and in Korean."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from runs import METRICS, PRIMARY, Outcome, Setting, build
from tare_bench.analysis import Analysis, analyse
from tare_bench.model import Accelerator
from tare_bench.reports.language import language
from tare_bench.reports.view import answer
from test_doubts import twice

KVM: dict[str, Accelerator] = {"kvm": "kvm"}
BOOT, BOTH = ("boot",), ("boot", "memory")
EMULATED = {
    "en": "kvm was EMULATED: without KVM every instruction is interpreted, so this is not what a guest on KVM costs, "
    "and its memory is not compared.",
    "ko": "kvm: 에뮬레이션으로 실행. KVM 없이 모든 명령어를 해석해 실행했으므로 KVM 게스트의 비용이 아니며, 메모리는 "
    "비교하지 않음.",
}


def _fails(*arms: str, how: str = "failed") -> Callable[[str, str, int], Outcome]:
    def outcome(arm: str, workload: str, block: int) -> Outcome:
        return (how, "broken") if arm in arms and workload == "boot" else None  # type: ignore[return-value]

    return outcome


def _two(rounds: int) -> Setting:
    return Setting(rounds=rounds, arms=("docker", "crun"), names={"crun": "docker"}, accelerators={}, workloads=BOOT)


def _of(setting: Setting) -> Callable[[], Analysis]:
    return lambda: analyse(build(setting), METRICS, PRIMARY)


SIMULATED: dict[str, Accelerator] = dict.fromkeys(("native", "docker", "kvm"), "simulated")
CASES: dict[str, tuple[Callable[[], Analysis], list[str], list[str]]] = {
    "emulated": (
        _of(Setting(rounds=10, workloads=BOTH)),
        ["kvm (EMULATED) takes 41.5 times as long to boot (38.6 to 47.8), compared with docker.", EMULATED["en"]],
        ["kvm (에뮬레이션): docker 대비 부팅 시간 41.5배(38.6~47.8).", EMULATED["ko"]],
    ),
    "on KVM": (
        _of(Setting(rounds=10, workloads=BOTH, accelerators=KVM)),
        [
            (
                "kvm takes 41.5 times as long to boot (38.6 to 47.9) and takes 239 MiB more memory for each instance "
                "(236 to 240), compared with docker."
            )
        ],
        ["kvm: docker 대비 부팅 시간 41.5배(38.6~47.9), 인스턴스당 메모리 239 MiB 더 사용(236~240)."],
    ),
    "simulated": (
        _of(Setting(rounds=10, workloads=BOOT, accelerators=SIMULATED)),
        [
            "kvm (SIMULATED) takes 40.1 times as long to boot (37.6 to 43.6), compared with docker (SIMULATED).",
            "SIMULATED: these numbers come from the fake driver, and nothing was measured.",
        ],
        [
            "kvm (시뮬레이션): docker (시뮬레이션) 대비 부팅 시간 40.1배(37.6~43.6).",
            "시뮬레이션: fake 드라이버가 만든 숫자이며 실제로 측정한 값이 아님.",
        ],
    ),
    "one driver": (
        _of(Setting(rounds=10, arms=("docker",), workloads=BOOT)),
        ["docker boots in 172 ms (154 to 182); no other arm was run."],
        ["docker: 부팅 시간 172 ms (154~182). 다른 대상은 실행하지 않음."],
    ),
    "the floor only": (
        _of(Setting(rounds=10, arms=("docker", "native"), workloads=BOTH)),
        [
            (
                "native takes 0.0121 times as long to boot (0.0109 to 0.0128) and takes 5.64 MiB less memory for each "
                "instance (5.39 to 5.89), compared with docker."
            )
        ],
        ["native: docker 대비 부팅 시간 0.0121배(0.0109~0.0128), 인스턴스당 메모리 5.64 MiB 덜 사용(5.39~5.89)."],
    ),
    "too few pairs": (
        _of(Setting(rounds=3, workloads=BOOT, accelerators=KVM)),
        [
            "There is not enough data to compare kvm with docker: 3 pairs; an interval at 97.5 % takes 7.",
            "2 primary comparisons without enough data.",
        ],
        [
            "kvm 대 docker: 비교하기에 데이터 부족(3쌍뿐이며, 97.5% 신뢰구간에는 7쌍이 필요).",
            "주 비교 2건 데이터 부족.",
        ],
    ),
    "one arm failed": (
        _of(Setting(rounds=10, workloads=BOTH, accelerators=KVM, outcome=_fails("kvm"))),
        [
            "kvm takes 240 MiB more memory for each instance (236 to 242), compared with docker.",
            "1 primary comparison without enough data, 10 trials failed.",
        ],
        ["kvm: docker 대비 인스턴스당 메모리 240 MiB 더 사용(236~242).", "주 비교 1건 데이터 부족, 시행 10회 실패."],
    ),
    "one arm timed out": (
        _of(Setting(rounds=10, workloads=BOOT, accelerators=KVM, outcome=_fails("kvm", how="timeout"))),
        ["kvm does not boot within its deadline, compared with docker.", "10 trials timed out."],
        ["kvm: docker 대비 제한 시간 안에 부팅하지 못함.", "시행 10회 시간 초과."],
    ),
    "nothing worked": (
        _of(Setting(rounds=10, workloads=BOOT, outcome=_fails("kvm", "docker", "native"))),
        [
            "There is not enough data to compare kvm (EMULATED) with docker: 10 of 10 pairs were lost.",
            "2 primary comparisons without enough data, 30 trials failed.",
            EMULATED["en"],
        ],
        [
            "kvm (에뮬레이션) 대 docker: 비교하기에 데이터 부족(10쌍 중 10쌍 유실).",
            "주 비교 2건 데이터 부족, 시행 30회 실패.",
            EMULATED["ko"],
        ],
    ),
    "equivalent": (
        _of(_two(200)),
        ["crun boots equally fast within 5 %, compared with docker."],
        ["crun: docker 대비 부팅 시간 동등(차이 5% 이내)."],
    ),
    "none decided": (
        _of(_two(10)),
        [
            "Nothing is decided between crun and docker: that takes about 200 pairs, and there are 10.",
            "1 primary comparison undecided.",
        ],
        ["crun 대 docker: 판정된 항목 없음(판정에 약 200쌍 필요, 현재 10쌍).", "주 비교 1건 판정 보류."],
    ),
    "the same arm differs from itself": (
        lambda: twice(twin=1.5),
        [
            "Nothing is decided between other and docker: the same arm measured twice was called different, too.",
            "1 primary comparison undecided.",
        ],
        ["other 대 docker: 판정된 항목 없음(같은 대상을 두 번 잰 값끼리도 다르다고 판정됨).", "주 비교 1건 판정 보류."],
    ),
    "throughput": (
        _of(Setting(rounds=10, throughput=10, workloads=BOOT, accelerators=KVM)),
        [
            "kvm takes 40.1 times as long to boot (37.4 to 45.5), compared with docker.",
            (
                "Throughput of kvm compared with docker: slower in CPU (sysbench), Memory writes (sysbench), "
                "Random reads (fio), Random writes (fio) and Redis GET (inside, loopback) at 1, 10 and 50 "
                "connections, at 0.0200 to 0.265 times the rate."
            ),
        ],
        [
            "kvm: docker 대비 부팅 시간 40.1배(37.4~45.5).",
            (
                "kvm 처리량(docker 대비) — CPU (sysbench), 메모리 쓰기(sysbench), 임의 읽기(fio), "
                "임의 쓰기(fio), Redis GET (내부, 루프백) 연결 1, 10, 50개에서 느림, 속도 0.0200~0.265배."
            ),
        ],
    ),
}


def _said(analysis: Analysis, tag: str) -> list[str]:
    with language(tag):
        return [sentence.replace("\N{NARROW NO-BREAK SPACE}", " ") for sentence in answer(analysis)]


@pytest.mark.parametrize("case", CASES)
def test_the_sentences_are_these_in_english(case: str) -> None:
    made, english, _korean = CASES[case]
    assert _said(made(), "en") == english


@pytest.mark.parametrize("case", CASES)
def test_the_sentences_are_these_in_korean(case: str) -> None:
    made, _english, korean = CASES[case]
    assert _said(made(), "ko") == korean


def test_a_floor_above_the_effect_leaves_nothing_decided() -> None:
    """The twin may differ by more than the arm does: what would be called slower is not."""
    analysis = twice(twin=1.0, other=1.09, rounds=12)
    (item,) = [each for each in analysis.comparisons if each.primary]
    assert item.verdict == "undecided"
    assert "Nothing is decided between other and docker" in _said(analysis, "en")[0]
    assert "판정된 항목 없음" in _said(analysis, "ko")[0]
