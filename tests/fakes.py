"""Commands that the contract's tests run, and what the fake driver's instances are taught to make of them."""

from __future__ import annotations

from tare_bench.drivers.fake import Reply

BYTES = bytes(range(256)) * 2
PRINT_BYTES = "printf '" + "".join(f"\\{byte:03o}" for byte in BYTES) + "'"

LARGE = 64 << 20
PRINT_LARGE = f"head -c {LARGE} /dev/zero"

BOTH = "echo out; echo err >&2; echo more"
HANGS = "sleep 7654.25"
LEAVES_CHILDREN = "sleep 7654.75 & sleep 7654.5"
COUNT_CHILDREN = (
    "for f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$f; echo; done 2>/dev/null | grep -c 'sleep 7654[.]75'"
)
READS = "cat"

PRINTED = {
    "printf %s 'it'\\''s \"quoted\" $HOME `x`'": 'it\'s "quoted" $HOME `x`',
    "echo one\necho two\n\n": "one\ntwo\n",
    "printf %s 'a\\b\\\\c\\n\\0101%b'": "a\\b\\\\c\\n\\0101%b",
    "   printf %s '  x  '   ": "  x  ",
    "\n\tprintf %s 'ends with a line\n'": "ends with a line\n",
    "printf %s 'Ωß한글🙂'": "Ωß한글🙂",
    "printf %s 'tab\tand\rreturn\x07'": "tab\tand\rreturn\x07",
    'printf %s "100%d *"': "100%d *",
    "printf %s '\\'": "\\",
    "": "",
    f": {'x' * 50_000}; echo long": "long\n",
}
"""Command to what it prints, byte for byte."""

STATUSES = {
    "exit 0": 0,
    "exit 1": 1,
    "exit 124": 124,
    "exit 255": 255,
    "false": 1,
    "no-such-program": 127,
    "kill -TERM $$": 143,
    "kill -KILL $$": 137,
    "kill -KILL $PPID": 137,
    "echo '": 2,
}
"""Command to how it ends: no shell of ours dies with one that kills its own, or the one that started it."""

TAUGHT: dict[str, Reply] = {
    PRINT_BYTES: Reply(BYTES),
    PRINT_LARGE: Reply(bytes(LARGE), seconds=0.5),
    BOTH: Reply(b"out\nmore\n", b"err\n"),
    HANGS: Reply(seconds=7654.25),
    LEAVES_CHILDREN: Reply(seconds=7654.5),
    COUNT_CHILDREN: Reply(b"0\n", status=1),
    READS: Reply(),
    **{command: Reply(text.encode()) for command, text in PRINTED.items()},
    **{command: Reply(status=status) for command, status in STATUSES.items()},
}
