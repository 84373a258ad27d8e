"""A video that is made for later: OpenAI's video object, and what it was charged in a `headrace` key."""

import re
import secrets
from typing import Any, Final, Literal

import msgspec

from headrace.errors import Invalid
from headrace.units import dollars
from headrace.wire.films import SECONDS_MAX

PROMPT_MAX: Final = 32_000
Status = Literal["queued", "in_progress", "completed", "failed"]
ENDED: Final = frozenset({"completed", "failed"})
_SIZE: Final = re.compile(r"([1-9][0-9]{1,4})x([1-9][0-9]{1,4})")


class Video(msgspec.Struct, frozen=True, kw_only=True):
    """Times are seconds since 1970. `key` is the id of the key it acts for; `attempt` counts askings that may be paid.

    `charge_nanousd` is None until it is known; `file` is the name of what is made.
    """

    id: str
    tenant: str
    key: str
    model: str
    prompt: str
    seconds: int
    size: str
    created_at: int
    seed: int | None = None
    fps: int | None = None
    status: Status = "queued"
    started_at: int | None = None
    completed_at: int | None = None
    attempt: int = 1
    charge_nanousd: int | None = None
    file: str = ""
    error: dict[str, str] | None = None

    @property
    def work(self) -> int:
        """How much there is to do: pixels times seconds; of a size that the model chose, seconds alone."""
        width, _, height = self.size.partition("x")
        return int(width) * int(height or 1) * self.seconds if width.isdigit() else self.seconds

    def body(self) -> dict[str, Any]:
        """What the gateway is asked."""
        asked = {"model": self.model, "prompt": self.prompt, "seconds": self.seconds, "size": self.size}
        more = {"seed": self.seed, "fps": self.fps}
        return asked | {name: value for name, value in more.items() if value is not None}

    def view(self, progress: int = 0) -> dict[str, Any]:
        """OpenAI's object. `progress` in percent, of one that is at work."""
        cost = dollars(self.charge_nanousd) if self.charge_nanousd is not None else None
        return {
            "id": self.id, "object": "video", "model": self.model, "status": self.status, "prompt": self.prompt,
            "progress": 100 if self.status == "completed" else progress, "created_at": self.created_at,
            "completed_at": self.completed_at, "expires_at": None, "size": self.size, "seconds": str(self.seconds),
            "remixed_from_video_id": None, "error": self.error, "headrace": {"cost": cost, "cost_unit": "USD"},
        }  # fmt: skip


class Asked(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /v1/videos; a form's fields are read as the same."""

    model: str
    prompt: str
    seconds: str | int = "4"
    size: str = "auto"
    seed: int | None = None
    fps: int | None = None

    def check(self) -> int:
        """The seconds. Raises Invalid that names the value, the limit and the fix."""
        if not 1 <= len(self.prompt) <= PROMPT_MAX:
            message = f"prompt has {len(self.prompt)} characters; give 1 to {PROMPT_MAX}"
            raise Invalid(message, param="prompt")
        if self.size != "auto" and not _SIZE.fullmatch(self.size):
            raise Invalid(f"size is {self.size[:20]!r}; give WIDTHxHEIGHT like 720x1280, or auto", param="size")
        text = str(self.seconds)
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= SECONDS_MAX):
            raise Invalid(f"seconds is {text[:20]!r}; give 1 to {SECONDS_MAX}", param="seconds")
        return int(text)


def new_id() -> str:
    """A name that nobody can guess."""
    return f"video_{secrets.token_hex(12)}"
