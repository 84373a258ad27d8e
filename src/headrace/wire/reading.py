"""From bytes to strict types: every way a body can be wrong becomes `Invalid` with words that help.

Each endpoint's parser calls `read` once. Nothing here trusts the body: not its encoding, depth, numbers or names.
"""

import re
from typing import Any, Final, TypeVar

import msgspec

from headrace import errors
from headrace.wire import fault

T = TypeVar("T")

BODY_MAX_BYTES: Final = 8 << 20
_NAME_MAX: Final = 64  # of a name that is quoted back

_UNKNOWN: Final = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(?P<name>.*)`", re.DOTALL)


def read(decoder: "msgspec.json.Decoder[T]", body: bytes, known: tuple[str, ...], limit: int = BODY_MAX_BYTES) -> T:
    """The body as the decoder's type. `known` are the parameters for did-you-mean. Raises Invalid."""
    if len(body) > limit:
        raise errors.Invalid(
            f"The body has {len(body)} bytes; the limit is {limit >> 20} MiB.",
            code="request_too_large",
            status=413,
        )
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise errors.Invalid(
                f"The body is not valid UTF-8: byte {error.start} cannot be read.", code="invalid_json"
            ) from None
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise refusal(str(error), known) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        text = "it is empty" if not body else str(error).replace("JSON is malformed: ", "")
        raise errors.Invalid(f"The body is not valid JSON: {text}.", code="invalid_json") from None
    except RecursionError:
        raise errors.Invalid("The body is nested too deeply.", code="invalid_json") from None


def refusal(text: str, known: tuple[str, ...]) -> errors.Invalid:
    """What a decoder's complaint means in OpenAI's words."""
    said, _, at = text.partition(" - at `")
    path = _param(at.removesuffix("`"))
    if unknown := _UNKNOWN.match(said):
        name = unknown["name"][:_NAME_MAX]
        param = f"{path}.{name}" if path else name
        near = "" if path else fault.suggestion(name, list(known))
        return errors.Invalid(
            f"Unrecognized request argument supplied: {param}.{near}", param=param, code="unknown_parameter"
        )
    if missing := _MISSING.match(said):
        param = f"{path}.{missing['name']}" if path else missing["name"]
        return errors.Invalid(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")
    said = said.replace("`", "")
    if len(said) > 4 * _NAME_MAX:
        said = said[: 4 * _NAME_MAX] + "…"
    code = "invalid_type" if ", got " in said else "invalid_value"
    if path is None:
        return errors.Invalid(f"The body must be a JSON object: {said}.", code=code)
    return errors.Invalid(f"Invalid value for '{path}': {said}.", param=path, code=code)


def convert(value: Any, kind: type[T], at: str) -> T:
    """A part of a body, decoded loosely before, as its type; `at` is where it stands. Raises Invalid."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        said, _, path = str(error).partition(" - at `$")
        raise refusal(f"{said} - at `$.{at}{path.removesuffix('`')}`", ()) from None


def unsupported(param: str, why: str = "is not supported by this model") -> errors.Invalid:
    """A parameter that is known, and not served."""
    return errors.Invalid(f"Unsupported parameter: '{param}' {why}.", param=param, code="unsupported_parameter")


def size_of(text: str) -> int:
    """Bytes of a text in UTF-8. Raises Invalid on a lone surrogate."""
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise errors.Invalid(
            "A text holds a lone surrogate, which is not valid Unicode.", code="invalid_json"
        ) from None


def flat(value: str | list[Any]) -> list[Any]:
    """One text, one list of tokens, or a list of either, as a list of texts or token lists. Raises ValueError."""
    if isinstance(value, str):
        return [value]
    kinds = {type(item) for item in value}
    if kinds == {int}:
        return [value]
    if len(kinds) != 1:
        raise ValueError("mix neither texts with tokens nor lists with numbers")
    return value


def _param(path: str | None) -> str | None:
    if not path:
        return None
    trimmed = path.rpartition("$")[2].removeprefix(".")  # of "key` in `$.logit_bias" too
    return trimmed[: 2 * _NAME_MAX] or None
