"""What strace counted, as calls for each message."""

from benchmarks.syscalls import parsed, render

COUNTED = """\
syscall               calls
---------------- ----------
sendto                 1000
recvfrom               1003
epoll_wait               40
brk                       1
---------------- ----------
total                  2044
"""


def test_counts_are_read_without_their_total() -> None:
    assert parsed(COUNTED) == {"sendto": 1000, "recvfrom": 1003, "epoll_wait": 40, "brk": 1}


def test_the_table_has_calls_for_each_message_and_leaves_rare_ones_out() -> None:
    text = render([("echo", 1000, {"sendto": 1000, "recvfrom": 2000, "brk": 1, "mmap": 0}), ("none", 0, {"brk": 1})])
    assert "| echo | 1,000 | 3 | recvfrom 2, sendto 1, brk 0.001 |" in text
    assert "| none | 0 | | |" in text
