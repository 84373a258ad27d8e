"""How journal entries lie in a file: length, CRC-32, msgpack. Shared by the journal that writes and the reader.

Pure: bytes in, bytes out. A frame never changes its form; a new form is a new kind of file.
"""

import struct
from typing import Final
from zlib import crc32

import msgspec

from headrace.state.usage import Entry

HEAD: Final = struct.Struct("<II")
ENTRY_BYTES_MAX: Final = 1 << 20
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode


def frame(entry: Entry) -> bytes:
    """One entry as it is written. Raises ValueError when it is larger than a reader would take."""
    body = _encode(entry)
    if len(body) > ENTRY_BYTES_MAX:
        raise ValueError(f"a journal entry of {len(body)} bytes; at most {ENTRY_BYTES_MAX} can be kept")
    return HEAD.pack(len(body), crc32(body)) + body


def unframe(data: bytes) -> tuple[list[Entry], int, bool]:
    """Whole entries at the start of `data`, how many bytes they take, and whether what follows is damaged.

    A frame that is cut off is not damage: its rest may still be written. A file grows only by whole bytes in order,
    so whatever is there and does not fit its CRC was changed after it was written, or never reached the disk.
    """
    entries: list[Entry] = []
    at = 0
    while at + HEAD.size <= len(data):
        length, crc = HEAD.unpack_from(data, at)
        if not 0 < length <= ENTRY_BYTES_MAX:
            return entries, at, True
        end = at + HEAD.size + length
        if end > len(data):
            break
        body = data[at + HEAD.size : end]
        if crc32(body) != crc:
            return entries, at, True
        try:
            entries.append(_decode(body))
        except msgspec.DecodeError:
            return entries, at, True
        at = end
    return entries, at, False
