"""permessage-bzip2 and x-rot for the `websockets` library, written for these tests. Must never import wsproxy."""

import bz2
import dataclasses
from collections.abc import Sequence

from websockets.exceptions import NegotiationError
from websockets.extensions import ClientExtensionFactory, Extension, ServerExtensionFactory
from websockets.frames import CTRL_OPCODES, Frame, Opcode
from websockets.typing import ExtensionName, ExtensionParameter


class TheirRot(Extension):
    name = ExtensionName("x-rot")

    def __init__(self, by: int) -> None:
        self._by = by
        self._coded = False

    def encode(self, frame: Frame) -> Frame:
        if frame.opcode in CTRL_OPCODES:
            return frame
        return dataclasses.replace(frame, data=self._turned(frame, self._by), rsv2=frame.opcode is not Opcode.CONT)

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        if frame.opcode in CTRL_OPCODES:
            return frame
        if frame.opcode is not Opcode.CONT:
            self._coded = frame.rsv2
        return dataclasses.replace(frame, data=self._turned(frame, -self._by), rsv2=False) if self._coded else frame

    @staticmethod
    def _turned(frame: Frame, by: int) -> bytes:
        return bytes((byte + by) % 256 for byte in bytes(frame.data))


class TheirBzip2(Extension):
    name = ExtensionName("permessage-bzip2")

    def __init__(self, level: int) -> None:
        self._level = level
        self._out = bz2.BZ2Compressor(level)
        self._in = bz2.BZ2Decompressor()
        self._coded = False

    def encode(self, frame: Frame) -> Frame:
        if frame.opcode in CTRL_OPCODES:
            return frame
        data = self._out.compress(bytes(frame.data))
        if frame.fin:
            data += self._out.flush()
            self._out = bz2.BZ2Compressor(self._level)
        return dataclasses.replace(frame, data=data, rsv1=frame.opcode is not Opcode.CONT)

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        if frame.opcode in CTRL_OPCODES:
            return frame
        if frame.opcode is not Opcode.CONT:
            self._coded = frame.rsv1
            self._in = bz2.BZ2Decompressor()
        if not self._coded:
            return frame
        data = b"" if self._in.eof else self._in.decompress(bytes(frame.data))
        assert self._in.eof or not frame.fin
        return dataclasses.replace(frame, data=data, rsv1=False)


class ClientRot(ClientExtensionFactory):
    """Offers x-rot with one number."""

    name = TheirRot.name

    def __init__(self, by: int) -> None:
        self._by = by

    def get_request_params(self) -> list[ExtensionParameter]:
        return [("by", str(self._by))]

    def process_response_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> Extension:
        if list(params) != [("by", str(self._by))]:
            raise NegotiationError(f"not what was offered: {params}")
        return TheirRot(self._by)


class ServerRot(ServerExtensionFactory):
    """Accepts x-rot with any number."""

    name = TheirRot.name

    def process_request_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> tuple[list[ExtensionParameter], Extension]:
        ((name, value),) = params
        assert name == "by" and value is not None
        return list(params), TheirRot(int(value))
