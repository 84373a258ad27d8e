"""A batch as clients know it: OpenAI's batch object, and what it has come to in a `headrace` key."""

import secrets
from typing import Any, Final, Literal

import msgspec

from headrace.errors import Invalid
from headrace.jobs.file import ExpiresAfter
from headrace.units import dollars
from headrace.wire.endpoint import ROUTES

WINDOW_S: Final = 24 * 3_600
METADATA_MAX: Final = 16  # OpenAI's bounds
_NAME_MAX, _VALUE_MAX = 64, 512
ERRORS_MAX: Final = 100  # lines that are named when a file is refused
Status = Literal[
    "validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled"
]  # fmt: skip
_NOT_LINES: Final = ("/v1/audio/", "/v1/videos", "/v1/images/edits", "/v1/images/upscale")  # forms, sound, film
ENDED: Final = frozenset({"completed", "failed", "expired", "cancelled"})


class LineError(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a batch cannot be done; `line` counts from 1."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class Counts(msgspec.Struct, kw_only=True):
    """What has been done. `unpriced`: answers whose charge the gateway did not tell; they are not in the sum."""

    completed: int = 0
    failed: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    charge_nanousd: int = 0
    unpriced: int = 0


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Times are seconds since 1970; `at` has those of each status. `key` is the id of the key that it acts for.

    `ending`: what it will be once its files are made.
    """

    id: str
    tenant: str
    key: str
    endpoint: str
    input_file_id: str
    created_at: int
    expires_at: int
    status: Status = "validating"
    metadata: dict[str, str] | None = None
    output_expires_s: int = 0
    at: dict[str, int] = {}
    errors: tuple[LineError, ...] = ()
    model: str = ""
    total: int = 0
    counts: Counts = msgspec.field(default_factory=Counts)
    output_file_id: str = ""
    error_file_id: str = ""
    ending: Status | None = None

    def moved(self, status: Status, now_s: int, **more: Any) -> "Batch":
        """In another status."""
        return msgspec.structs.replace(self, status=status, at={**self.at, status: now_s}, **more)

    def view(self, counts: Counts | None = None, width: int = 0) -> dict[str, Any]:
        """OpenAI's object. `counts` are the newest ones of a batch at work, `width` how many requests it has out."""
        done = counts or self.counts
        shown = {
            "id": self.id, "object": "batch", "endpoint": self.endpoint, "model": self.model or None,
            "input_file_id": self.input_file_id, "completion_window": "24h", "status": self.status,
            "output_file_id": self.output_file_id or None, "error_file_id": self.error_file_id or None,
            "created_at": self.created_at, "expires_at": self.expires_at,
            **{f"{status}_at": at for status, at in self.at.items() if status != "validating"},
            "errors": {"object": "list", "data": self.errors} if self.errors else None,
        }  # fmt: skip
        left = {name: value for name, value in shown.items() if value is not None}
        counted = {"total": self.total, "completed": done.completed, "failed": done.failed}
        return {**left, "metadata": self.metadata, "request_counts": counted, "usage": _usage(done),
                "headrace": _money(done, width)}  # fmt: skip


class Asked(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /v1/batches."""

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None = None
    output_expires_after: ExpiresAfter | None = None

    def check(self) -> None:
        """Raises Invalid that names the value, the limit and the fix."""
        served = sorted(path for path, found in ROUTES.items() if path.startswith("/v") and not found.counts
                        and not path.startswith(_NOT_LINES))  # fmt: skip
        if self.endpoint not in served:
            raise Invalid(f"endpoint is {self.endpoint[:60]!r}; give one of {', '.join(served)}", param="endpoint")
        if self.completion_window != "24h":
            message = f"completion_window is {self.completion_window[:20]!r}; give 24h"
            raise Invalid(message, param="completion_window")
        if self.output_expires_after is not None:
            self.output_expires_after.check("output_expires_after")
        metadata = self.metadata or {}
        if len(metadata) > METADATA_MAX:
            raise Invalid(f"metadata has {len(metadata)} entries; the limit is {METADATA_MAX}", param="metadata")
        for name, value in metadata.items():
            if len(name) > _NAME_MAX or len(value) > _VALUE_MAX:
                message = (
                    f"metadata {name[:_NAME_MAX]!r}: names have at most {_NAME_MAX} characters, values {_VALUE_MAX}"
                )
                raise Invalid(message, param="metadata")


def new_id() -> str:
    """A name that nobody can guess."""
    return f"batch_{secrets.token_hex(12)}"


def _usage(done: Counts) -> dict[str, Any]:
    return {
        "input_tokens": done.input_tokens, "input_tokens_details": {"cached_tokens": done.cached_tokens},
        "output_tokens": done.output_tokens, "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": done.input_tokens + done.output_tokens,
    }  # fmt: skip


def _money(done: Counts, width: int) -> dict[str, Any]:
    return {"cost": dollars(done.charge_nanousd), "cost_unit": "USD", "cost_nanousd": done.charge_nanousd,
            "unpriced": done.unpriced, "at_once": width}  # fmt: skip
