"""A file as clients know it: OpenAI's file object."""

import hashlib
import re
import secrets
from pathlib import Path
from typing import Any, Final

import msgspec

from headrace.errors import Invalid

FILE_BYTES_MAX: Final = 512 << 20
PURPOSES: Final = ("batch", "user_data", "vision", "assistants")
OUTPUT: Final = "batch_output"  # what batches make; not for uploads
EXPIRES_S_MIN, EXPIRES_S_MAX = 3_600, 2_592_000  # OpenAI's bounds
_NAME: Final = re.compile(r"[^\x00-\x1f\x7f/\\]{1,255}")


class File(msgspec.Struct, frozen=True, kw_only=True):
    """Times are seconds since 1970. `digest` names its bytes in the object store."""

    id: str
    tenant: str
    purpose: str
    filename: str
    bytes: int
    digest: str
    created_at: int
    expires_at: int | None = None

    def view(self) -> dict[str, Any]:
        """OpenAI's object."""
        shown = {name: getattr(self, name) for name in ("id", "bytes", "created_at", "filename", "purpose")}
        ends = {} if self.expires_at is None else {"expires_at": self.expires_at}
        return {**shown, "object": "file", "status": "processed", **ends}


class ExpiresAfter(msgspec.Struct, frozen=True):
    """How long a file is kept from its making."""

    anchor: str
    seconds: int

    def check(self, param: str) -> "ExpiresAfter":
        """Raises Invalid that names the bounds."""
        if self.anchor != "created_at":
            raise Invalid(f"{param}.anchor is {self.anchor[:40]!r}; give 'created_at'", param=f"{param}.anchor")
        if not EXPIRES_S_MIN <= self.seconds <= EXPIRES_S_MAX:
            raise Invalid(
                f"{param}.seconds is {self.seconds}; give {EXPIRES_S_MIN} (an hour) to {EXPIRES_S_MAX} (30 days)",
                param=f"{param}.seconds",
            )
        return self


def new_id() -> str:
    """A name that nobody can guess."""
    return f"file-{secrets.token_hex(12)}"


def digest(path: Path) -> str:
    """The SHA-256 of what a file holds. Blocks."""
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def name(given: str) -> str:
    """The file's own name, without its folders. Raises Invalid."""
    last = given.replace("\\", "/").rpartition("/")[2]
    if not _NAME.fullmatch(last):
        raise Invalid("the file's name has 1 to 255 characters and no control characters", param="file")
    return last


def purpose(given: str) -> str:
    """Raises Invalid that names those there are."""
    if given not in PURPOSES:
        raise Invalid(f"purpose is {given[:40]!r}; give {', '.join(PURPOSES)}", param="purpose")
    return given
