"""The catalogue of errors a client can meet, and their bodies in OpenAI's shape.

The gateway answers with nothing else: an engine's own words never reach a client, only figures read from them.
"""

import re
from typing import Any, Final

import msgspec

from headrace import errors

_INVALID: Final = "invalid_request_error"
_SERVER: Final = "server_error"

CATALOGUE: Final[dict[str, tuple[int, str, str]]] = {
    # code: (status, type, message when there is nothing better to say)
    "invalid_json": (400, _INVALID, "The body of the request is not valid JSON."),
    "invalid_value": (400, _INVALID, "A value in the request is not allowed."),
    "invalid_type": (400, _INVALID, "A value in the request is of the wrong type."),
    "missing_required_parameter": (400, _INVALID, "A required parameter is missing."),
    "unknown_parameter": (400, _INVALID, "The request has a parameter that is not known."),
    "unsupported_parameter": (400, _INVALID, "A parameter is not supported by this model."),
    "unsupported_value": (400, _INVALID, "A value is not supported by this model."),
    "unsupported_endpoint": (400, _INVALID, "This model does not serve this path."),
    "invalid_image": (400, _INVALID, "A picture in the request cannot be read."),
    "invalid_audio": (400, _INVALID, "A recording in the request cannot be read."),
    "context_length_exceeded": (400, _INVALID, "The prompt is longer than the context of the model."),
    "bad_request": (400, _INVALID, "The request is not well-formed HTTP/1.1."),
    "invalid_api_key": (401, "invalid_request_error", "Incorrect API key provided. Send it as a bearer token."),
    "permission_denied": (403, "permission_error", "This key may not do that."),
    "not_found": (404, _INVALID, "There is nothing at this path."),
    "model_not_found": (404, _INVALID, "The model does not exist or this key may not use it."),
    "method_not_allowed": (405, _INVALID, "This path does not take that method."),
    "request_timeout": (408, _INVALID, "The request was not received in time."),
    "conflict": (409, _INVALID, "The state has changed since you read it."),
    "length_required": (411, _INVALID, "Send a Content-Length or use chunked transfer coding."),
    "request_too_large": (413, _INVALID, "The request is larger than the limit."),
    "uri_too_long": (414, _INVALID, "The request target is too long."),
    "unsupported_media_type": (415, _INVALID, "Send the body as application/json, without a content coding."),
    "unprocessable": (422, _INVALID, "The request is well formed and cannot be carried out."),
    "rate_limit_exceeded": (429, "rate_limit_error", "Rate limit reached. Try again after the time in Retry-After."),
    "insufficient_quota": (429, "insufficient_quota", "The budget of this key is used up."),
    "budget_unavailable": (503, _SERVER, "The budget of this key cannot be asked just now; try again."),
    "headers_too_large": (431, _INVALID, "The headers of the request are larger than the limit."),
    "internal_error": (500, _SERVER, "The gateway made a mistake. It is logged under the request id."),
    "not_implemented": (501, _INVALID, "This transfer coding is not implemented."),
    "engine_crash": (500, _SERVER, "Replicas of the model died while they worked on this request."),
    "schema_not_met": (502, _SERVER, "The model has not answered in the form that was asked for."),
    "upstream_failed": (502, _SERVER, "The model's server failed while it worked on the request."),
    "upstream_invalid": (502, _SERVER, "The model's server gave an answer that is not valid."),
    "overloaded": (503, "overloaded_error", "The model has more requests waiting than it may hold."),
    "deadline_unreachable": (503, "overloaded_error", "The request cannot begin before its deadline."),
    "model_unavailable": (503, _SERVER, "The model cannot be served now."),
    "start_timeout": (503, _SERVER, "The model did not start in time."),
    "storage_unavailable": (503, _SERVER, "Usage cannot be recorded now, so requests are not taken."),
    "stopping": (503, _SERVER, "The gateway is stopping."),
    "upstream_timeout": (504, _SERVER, "The model's server did not answer in time."),
}

_CONTEXT: Final = re.compile(rb"context[ _](?:length|size|window)|maximum context|exceed_context", re.IGNORECASE)
_RANGE: Final = re.compile(
    rb"Field '([a-z_]{1,32})': Value must be between (-?[0-9.]{1,12}) <= value <= (-?[0-9.]{1,12})"
)
_FIGURE_MAX: Final = 10**9
_WORDS_MAX: Final = 600
_PARAM: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.\[\]]{0,63}")


class _UpstreamError(msgspec.Struct):
    n_prompt_tokens: int | None = None
    n_ctx: int | None = None
    message: str | None = None
    param: str | None = None
    code: str | int | None = None  # a number of llama.cpp


class _UpstreamBody(msgspec.Struct):
    error: _UpstreamError | None = None


_UPSTREAM: Final = msgspec.json.Decoder(_UpstreamBody)


def status(code: str) -> int:
    """The HTTP status of a catalogue entry; 500 for a code that is not in it."""
    return CATALOGUE.get(code, CATALOGUE["internal_error"])[0]


def body(code: str, message: str = "", param: str | None = None) -> bytes:
    """The JSON error object of a catalogue entry, its own message where none is given.

    >>> body("stopping")
    b'{"error":{"message":"The gateway is stopping.","type":"server_error","param":null,"code":"stopping"}}'
    """
    _, kind, default = CATALOGUE.get(code, CATALOGUE["internal_error"])
    return msgspec.json.encode(errors.openai_error(message or default, kind=kind, param=param, code=code))


def event(code: str, message: str = "") -> bytes:
    """The same as a server-sent event: how a stream ends that cannot be finished. No `[DONE]` follows it."""
    return b"data: " + body(code, message) + b"\n\n"


def of(error: errors.HeadraceError) -> tuple[int, bytes]:
    """Status and body for an error of ours; anything that is not about the request is an `internal_error`."""
    found, code, message, param = told(error)
    return found, body(code, message, param)


def told(error: errors.HeadraceError) -> tuple[int, str, str, str | None]:
    """The same before it is worded: status, code, message, param."""
    match error:
        case errors.Invalid():
            return error.status, error.code, error.message, error.param
        case errors.Refused():
            return error.status, error.code, error.message, None
        case errors.Transient():
            return status("upstream_invalid"), "upstream_invalid", "", None
        case _:
            return status("internal_error"), "internal_error", "", None


def of_upstream(upstream_status: int, upstream_body: bytes, *, ours: bool = False) -> errors.HeadraceError:
    """What an engine's refusal means to the client: of its words only figures are kept, unless it is a runner of ours.

    A runner of ours knows best why it cannot read a picture; what it says is bounded and printable, and goes only to
    whose request it had. 4xx about the context becomes `context_length_exceeded`; another 400, 404 or 422 is `Invalid`
    without its words; everything else is `Transient`, theirs.
    """
    if upstream_status in (400, 413, 422) and _CONTEXT.search(upstream_body, 0, 65536):
        message = CATALOGUE["context_length_exceeded"][2]
        try:
            figures: Any = _UPSTREAM.decode(upstream_body).error
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            figures = None
        if figures and 0 < (figures.n_ctx or 0) < _FIGURE_MAX and 0 < (figures.n_prompt_tokens or 0) < _FIGURE_MAX:
            message = (
                f"This model's context is {figures.n_ctx} tokens, and the prompt has {figures.n_prompt_tokens}. "
                "Shorten the prompt."
            )
        return errors.Invalid(message, code="context_length_exceeded")
    if upstream_status == 400 and b'"video_failed"' in upstream_body[:256]:
        return errors.Invalid(
            "The model's server took the request and could not make the video. Change the prompt, the size or the "
            "length.",
            code="invalid_value",
        )
    if ours and upstream_status in (400, 413, 422) and (told := _told(upstream_status, upstream_body)):
        return told
    if upstream_status == 400 and (said := _RANGE.search(upstream_body, 0, 65536)):
        name, low, high = (part.decode() for part in said.groups())
        return errors.Invalid(f"'{name}' must be between {low} and {high} for this model.", param=name)
    if upstream_status in (400, 422):
        return errors.Invalid(
            "The model's server refused a value in the request, most likely a schema, a pattern or a tool it cannot "
            "follow. Simplify it.",
            code="invalid_value",
        )
    return errors.Transient(f"the engine answered {upstream_status}")


def _told(upstream_status: int, upstream_body: bytes) -> errors.Invalid | None:
    """A refusal of our own runner as it said it; None when it does not read like one."""
    try:
        error: Any = _UPSTREAM.decode(upstream_body[:65536]).error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if error is None or not error.message or not error.message.isprintable() or len(error.message) > _WORDS_MAX:
        return None
    param = error.param if error.param and _PARAM.fullmatch(error.param) else None
    code = error.code if error.code in CATALOGUE else "invalid_value"
    return errors.Invalid(error.message, param=param, code=code, status=upstream_status)


def suggestion(name: str, known: list[str]) -> str:
    """` Did you mean 'x'?` when something known is near, else nothing; cheap enough for hostile names.

    >>> suggestion("max_token", ["max_tokens", "n"])
    " Did you mean 'max_tokens'?"
    """
    import difflib  # only on the way to a refusal

    near = difflib.get_close_matches(name[:64], known, n=1, cutoff=0.7)
    return f" Did you mean '{near[0]}'?" if near else ""
