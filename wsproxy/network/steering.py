"""Where the kernel sends new connections, among the sockets that listen on one address with SO_REUSEPORT.

Owns: the classic BPF program that chooses the socket (socket(7), SO_ATTACH_REUSEPORT_CBPF). Left alone the kernel
hashes addresses: two hundred tunnels then stand 120 to 80 now and then, and they stand for hours; and half of all
newcomers go to the socket of a worker that is only just being started again. Here each socket has a share.
Must never import trio.
"""

import contextlib
import ctypes
import itertools
import socket
import struct
import sys
from collections.abc import Sequence

_SO_ATTACH_REUSEPORT_CBPF = 51
_INSTRUCTION = struct.Struct("=HBBI")
_LOAD_WORD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
_JUMP_IF_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K
_RANDOM = 0xFFFFF000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM (linux/filter.h)
_SCALE = 1 << 16

AVAILABLE = sys.platform == "linux"
"""Elsewhere SO_REUSEPORT does not spread connections, and one socket is shared instead."""


def steer(descriptor: int, shares: Sequence[float]) -> None:
    """Give the socket that was the i-th of its group to listen ``shares[i]`` of the new connections, at random.

    :param descriptor: of any socket of the group.
    :param shares: not negative; only their proportions count.

    A kernel that does not do this goes on hashing addresses.
    """
    program = _program(shares)
    instructions = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: a count and a pointer, aligned as C aligns them.
    argument = struct.pack("@HP", len(program) // _INSTRUCTION.size, ctypes.addressof(instructions))
    member = socket.socket(fileno=descriptor)
    with contextlib.suppress(OSError):
        member.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, argument)
    member.detach()


def _program(shares: Sequence[float]) -> bytes:
    """A = random & 0xffff; the first i with A < bound(i) is returned."""
    total = sum(shares)
    code = [(_LOAD_WORD, 0, 0, _RANDOM), (_AND, 0, 0, _SCALE - 1)]
    for index, reached in enumerate(itertools.accumulate(shares[:-1])):
        # At or above the bound: over the return, on to the next bound.
        code += [(_JUMP_IF_AT_LEAST, 1, 0, round(_SCALE * reached / total)), (_RETURN, 0, 0, index)]
    code.append((_RETURN, 0, 0, len(shares) - 1))
    return b"".join(_INSTRUCTION.pack(*each) for each in code)
