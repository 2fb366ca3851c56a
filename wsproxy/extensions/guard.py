"""Calls of an extension, guarded: whatever it raises becomes one line of text.

Owns: that line. Imports nothing above ``errors``.
Invariant: nothing is raised here because of what an extension raised: the exception may be of its own making too.
"""

from collections.abc import Callable
from typing import TypeVar

from wsproxy.errors import ExtensionFault

_LONGEST = 200
T = TypeVar("T")


def guarded(name: str, operation: str, call: Callable[[], T]) -> T:
    """What ``call`` gives. Raises ExtensionFault instead of whatever it raises.

    That is BaseException: a library may exit, and one written in Rust panics with nothing less.
    """
    try:
        return call()
    except BaseException as error:
        raise ExtensionFault(name, operation, describe(error)) from error


def describe(error: BaseException) -> str:
    """An exception in one line, for a log: its type, where it was raised, and its text."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
    return f"{type(error).__name__}{place}: {text_of(error)}"


def text_of(error: BaseException) -> str:
    """The text of an exception, in one line and not too long."""
    try:
        text = str(error)[:_LONGEST]
    except BaseException:  # noqa: BLE001 — whatever it is, it is not what is to be told
        return "(it has no text)"
    return " ".join(text.split())
