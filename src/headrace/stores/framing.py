"""How journal entries lie in a file: length, CRC-32, msgpack. Shared by the journal that writes and the reader."""

import struct
import zlib
from typing import Final

import msgspec

from headrace.state.usage import Entry

HEAD: Final = struct.Struct("<II")
ENTRY_BYTES_MAX: Final = 1 << 20
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Entry] = msgspec.msgpack.Decoder(Entry)


def frame(entry: Entry) -> bytes:
    """One entry as it is written."""
    body = _encoder.encode(entry)
    return HEAD.pack(len(body), zlib.crc32(body)) + body


def unframe(data: bytes) -> tuple[list[Entry], int, bool]:
    """Whole entries at the start of `data`, how many bytes they take, and whether what follows is damaged.

    A frame that is cut off is not damage: its rest may still be written.
    """
    entries: list[Entry] = []
    at = 0
    while at + HEAD.size <= len(data):
        length, crc = HEAD.unpack_from(data, at)
        if length > ENTRY_BYTES_MAX:
            return entries, at, True
        end = at + HEAD.size + length
        if end > len(data):
            break
        body = data[at + HEAD.size : end]
        if zlib.crc32(body) != crc:
            return entries, at, True
        try:
            entries.append(_decoder.decode(body))
        except msgspec.DecodeError:
            return entries, at, True
        at = end
    return entries, at, False
