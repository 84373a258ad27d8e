"""The Date of answers (RFC 9110, section 6.6.1), made anew once a second."""

import time
from email.utils import formatdate

_known: tuple[int, bytes] = (0, b"")


def line() -> bytes:
    """The whole header line."""
    global _known  # noqa: PLW0603 - a clock's face, one a process
    now_s = int(time.time())
    if now_s != _known[0]:
        _known = now_s, b"date: %b\r\n" % formatdate(now_s, usegmt=True).encode()
    return _known[1]
