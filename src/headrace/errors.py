"""What can go wrong, by what the caller should do about it.

HeadraceError
├── Invalid       the caller's words are off: change them (400, 404, 422; exit 2 or 3)
├── Refused       well formed, and no: limits, policy, capacity (401, 403, 429, 503; exit 5)
├── Unreachable   the other side is not there: start it or look at the address (exit 6)
├── Transient     theirs, and worth another try after `delay_us`
└── Permanent     theirs, and another try would fail alike

Every message names the value, the limit and the fix. No message carries a secret or an engine's own words.
"""

from typing import Any


class HeadraceError(Exception):
    """Anything this program raises on purpose."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Invalid(HeadraceError):
    """The caller's words are off. `param` names the field, `code` the catalogue entry, `where` file:line:col."""

    def __init__(
        self, message: str, *, param: str | None = None, code: str = "invalid_value", status: int = 400, where: str = ""
    ) -> None:
        super().__init__(f"{where} {message}" if where else message)
        self.param = param
        self.code = code
        self.status = status
        self.where = where


class Refused(HeadraceError):
    """Well formed, and no. `retry_after_us` is None when waiting does not help."""

    def __init__(self, message: str, *, status: int, code: str, retry_after_us: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after_us = retry_after_us


class Unreachable(HeadraceError):
    """The other side is not there."""


class Transient(HeadraceError):
    """Theirs, and worth another try after `delay_us`."""

    def __init__(self, message: str, *, delay_us: int = 0) -> None:
        super().__init__(message)
        self.delay_us = delay_us


class Permanent(HeadraceError):
    """Theirs, and another try would fail alike."""


def openai_error(message: str, *, kind: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """OpenAI's error object, all four keys present.

    >>> openai_error("no", kind="invalid_request_error")["error"]["param"] is None
    True
    """
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
