"""Answers kept for an Idempotency-Key, one file each, for a day: a request that comes again is not done again.

The file is made with O_EXCL when the request begins, so of all gateway workers exactly one does the work; it is
replaced whole when the answer is known. A large answer has a file of its own beside it, which is there before it is
named and goes when who asked has the answer for good. Names are HMACs and answers are encrypted with a key derived from
the pepper: the folder tells nothing without it. Work whose gateway has died is anybody's to do again.
"""

import contextlib
import hashlib
import hmac
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from headrace.ports import SMALL_BYTES_MAX, Repeat

KEPT_US: Final = 24 * 3_600_000_000
_NONCE_BYTES: Final = 12


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    """What a file says. `sealed` is the encrypted answer, empty while at work or when it was streamed or is large.

    `large`: it is in the file beside this one.
    """

    digest: str
    request: str
    epoch: str
    at_us: int
    done: bool = False
    sealed: bytes = b""
    large: bool = False


class FileRepeats:
    """`ports.Repeats` of one gateway worker. `alive` tells whether the gateway of an epoch still lives."""

    def __init__(self, folder: Path, pepper: bytes, epoch: str, alive: Callable[[str], bool]) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._pepper = pepper
        self._epoch = epoch
        self._alive = alive

    def begin(self, name: str, digest: str, request: str, now_us: int) -> Repeat | None:
        """None: the caller does the work, and says `done` or `drop`. Else what is known of the first one."""
        path = self._path(name)
        for _ in range(3):  # a file may go between a look and a touch
            try:
                file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            except FileExistsError:
                known = self._known(path, name, now_us)
                if known is not None:
                    return known
                continue
            with os.fdopen(file, "wb") as out:
                out.write(msgspec.msgpack.encode(_Kept(digest, request, self._epoch, now_us)))
            return None
        return Repeat(digest=digest, request="", done=False)

    def done(
        self, name: str, digest: str, request: str, now_us: int, body: bytes | None, *, large: bool = False
    ) -> None:
        """See `ports.Repeats`. Blocks; call it in a thread for a large answer."""
        sealed, path = b"", self._path(name)
        large = large and body is not None and len(body) > SMALL_BYTES_MAX
        if body is not None and (large or len(body) <= SMALL_BYTES_MAX):
            sealed = self._seal(name, body)
        if large:
            _write(_beside(path), sealed)
            sealed = b""
        _write(path, msgspec.msgpack.encode(_Kept(digest, request, self._epoch, now_us, True, sealed, large)))

    def drop(self, name: str) -> None:
        """It came to nothing: the next one may try."""
        self._path(name).unlink(missing_ok=True)
        self.release(name)

    def release(self, name: str) -> None:
        """See `ports.Repeats`."""
        _beside(self._path(name)).unlink(missing_ok=True)

    def sweep(self, now_us: int) -> None:
        """Forget what is older than a day."""
        for path in self._folder.iterdir():
            with contextlib.suppress(OSError):
                if now_us - path.stat().st_mtime_ns // 1000 > KEPT_US:
                    path.unlink()

    def _known(self, path: Path, name: str, now_us: int) -> Repeat | None:
        """What a file tells; None when it is over and was taken away."""
        try:
            kept = msgspec.msgpack.decode(path.read_bytes(), type=_Kept)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError:  # its writer is between making and writing it, or died there
            if now_us - path.stat().st_mtime_ns // 1000 > 1_000_000:
                path.unlink(missing_ok=True)
                return None
            return Repeat(digest="", request="", done=False)
        over = now_us - kept.at_us > KEPT_US or (not kept.done and not self._alive(kept.epoch))
        if over:
            gone = path.with_suffix(f".gone-{os.getpid()}")
            with contextlib.suppress(FileNotFoundError):
                path.rename(gone)  # of several, one succeeds
                gone.unlink()
                _beside(path).unlink(missing_ok=True)
            return None
        sealed = _read(_beside(path)) if kept.large else kept.sealed
        body = self._open(name, sealed) if sealed else None
        return Repeat(digest=kept.digest, request=kept.request, done=kept.done, body=body)

    def _path(self, name: str) -> Path:
        return self._folder / hmac.new(self._pepper, b"repeat\0" + name.encode(), hashlib.sha256).hexdigest()

    def _key(self) -> bytes:
        return hmac.new(self._pepper, b"seal of kept answers", hashlib.sha256).digest()

    def _seal(self, name: str, body: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # large, and seldom needed

        nonce = os.urandom(_NONCE_BYTES)
        return nonce + AESGCM(self._key()).encrypt(nonce, body, name.encode())

    def _open(self, name: str, sealed: bytes) -> bytes | None:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            return AESGCM(self._key()).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], name.encode())
        except InvalidTag:
            return None


def _beside(path: Path) -> Path:
    return path.with_suffix(".large")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all; on the disk when this returns."""
    unseen = path.with_suffix(f"{path.suffix}.{os.getpid()}")
    file = os.open(unseen, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC | os.O_DSYNC, 0o600)
    with os.fdopen(file, "wb") as out:
        out.write(data)
    unseen.replace(path)
