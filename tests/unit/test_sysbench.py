"""What sysbench prints, and what is made of it."""

from __future__ import annotations

import pytest
from tare_bench.workloads.sysbench import SysbenchCpu

REAL = """\
sysbench 1.0.20 (using system LuaJIT 2.1.0-beta3)

Running the test with following options:
Number of threads: 1
Initializing random number generator from current time


Prime numbers limit: 10000

Initializing worker threads...

Threads started!

CPU speed:
    events per second:  1234.56

General statistics:
    total time:                          1.0005s
    total number of events:              1236

Latency (ms):
         min:                                    0.80
         avg:                                    0.81
         max:                                    1.71
         95th percentile:                        0.84
         sum:                                  999.30

Threads fairness:
    events (avg/stddev):           1236.0000/0.00
    execution time (avg/stddev):   0.9993/0.00

"""


def test_the_rate_is_found() -> None:
    assert SysbenchCpu().parse(REAL) == {"sysbench-cpu.events": 1234.56}


@pytest.mark.parametrize(
    "text", ["", "FATAL: unknown option", REAL.replace("1234.56", "0.00"), REAL.replace("1234.56", "nan")]
)
def test_no_rate_is_an_error_and_no_zero(text: str) -> None:
    with pytest.raises(ValueError, match="no events"):
        SysbenchCpu().parse(text)


def test_the_same_words_for_every_instance() -> None:
    assert list(SysbenchCpu().argv({})) == ["sysbench", "cpu", "--threads=1", "--time=1", "run"]
