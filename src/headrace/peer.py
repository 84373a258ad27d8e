"""Who is at the other end of a unix socket, as the kernel noted it when the connection was made.

The mode of a socket's file keeps others out where its folder does; this says it of the connection itself.
"""

import os
import socket
import struct
from typing import Final, NamedTuple

_CREDENTIALS: Final = struct.Struct("3i")


class Peer(NamedTuple):
    """One process. A `pid` may be another's by the time it is read, unless it is a child of the reader."""

    pid: int
    uid: int
    gid: int

    @property
    def own(self) -> bool:
        """Whether it runs as the user this process runs as."""
        return self.uid == os.geteuid()


def of(line: socket.socket) -> Peer:
    """The peer of a connected unix socket. Raises OSError for a socket that has none."""
    return Peer(*_CREDENTIALS.unpack(line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)))
