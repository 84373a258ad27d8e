"""JSON from engines that cannot be held to a schema: they are told its form, and what they answer is checked.

An answer that does not hold is shown to the model with what is wrong, and asked for again, TRIES times in all; the
gateway never passes one on as what was asked for. Patterns are matched in linear time, and nothing is ever fetched.
"""

import json
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from headrace import errors
from headrace.wire import schemas
from headrace.wire.messages import Turn, words

if TYPE_CHECKING:
    import jsonschema_rs

TRIES: Final = 3
SHOWN_MAX: Final = 2_000  # characters of an answer that its model is shown again
_NAMED_MAX: Final = 80  # of one that is not JSON at all
_TOLD_MAX: Final = 200  # of what is wrong with it
_FORM_DEPTH_MAX: Final = 6
_FORM_MAX: Final = 4_000
_BRACKETS_MAX: Final = 8  # at which JSON may begin, in an answer that has more than JSON
_BRACKET: Final = re.compile(r"[\[{]")
_SIMPLE: Final = frozenset(
    {"type", "properties", "required", "additionalProperties", "items", "title", "$defs", "$ref"}
)
_SAMPLES: Final[dict[str, Any]] = {"string": "...", "integer": 0, "number": 0.5, "boolean": True, "null": None}


def told(turns: list[Turn], schema: dict[str, Any]) -> list[Turn]:
    """The conversation with the wish: the schema, where its form does not say all, before it, and the form at its end,
    which is what small models keep to.
    """
    made = list(turns)
    if not _says_all(schema):
        rules = f"Answer with JSON that follows this JSON schema: {_compact(schema)}"
        system = made and made[0].role == "system"
        first = Turn("system", f"{words(made[0].content)}\n\n{rules}" if system else rules)
        made[: 1 if system else 0] = [first]
    last = made[-1]
    if last.role == "user" and isinstance(last.content, str):
        return [*made[:-1], Turn("user", f"{last.content}\n\n{_wish(schema)}", last.name)]
    return [*made, Turn("user", _wish(schema))]


def bytes_of(schema: dict[str, Any]) -> int:
    """The most bytes that `told` adds."""
    return len(_compact(schema)) + len(_wish(schema)) + 64


def complaint(text: str, problem: str, schema: dict[str, Any] | None) -> list[Turn]:
    """What follows an answer that does not hold. Without a schema the form was told otherwise.

    A tale is only named, lest its model tell it again.
    """
    wish = _wish(schema) if schema is not None else "Answer again with JSON, and nothing else."
    shown = text[: SHOWN_MAX if begun(text) else _NAMED_MAX]
    return [Turn("assistant", shown or "..."), Turn("user", f"That is not right: {problem}.\n\n{wish}")]


def kept(text: str, schema: dict[str, Any]) -> tuple[str, str]:
    """The JSON in an answer that holds, whatever stands around it, and ""; or "" and what is wrong with the answer.

    What is wrong is said in words that quote none of it.
    """
    wrong = "it is not valid JSON"
    for number, part in enumerate(_candidates(text)):
        try:
            error = next(iter(_validator(msgspec.json.encode(schema)).iter_errors(msgspec.json.decode(part))), None)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            continue
        if error is None:
            return part, ""
        if not number or wrong == "it is not valid JSON":
            at = "/".join(map(str, error.instance_path))
            wrong = f"{error.message} (at /{at})"[:_TOLD_MAX]
    return "", wrong


def begun(text: str) -> bool:
    """Whether an answer that was cut was on its way to JSON, and not to a tale.

    >>> begun('{"legs": '), begun("A spider has eight")
    (True, False)
    """
    return text.lstrip().startswith(("{", "[", "```"))


def check(schema: dict[str, Any], param: str) -> None:
    """Raises Invalid when no answer can be checked by the schema."""
    try:
        _validator(msgspec.json.encode(schema))
    except ValueError as error:
        said = str(error).partition("\n")[0][:_TOLD_MAX]
        raise errors.Invalid(
            f"This is no JSON schema by which an answer can be checked: {said}.", param=param
        ) from None


def unmet(problem: str) -> errors.Refused:
    """The model was asked as often as it may be, and has not kept to the form."""
    message = (
        f"The model has not answered in the form that was asked for, in {TRIES} tries; of the last: {problem}. It is "
        "not charged. Simplify the schema, say more in the prompt, or use a model whose engine enforces schemas."
    )
    return errors.Refused(message, status=502, code="schema_not_met")


@lru_cache(maxsize=64)
def _validator(schema: bytes) -> "jsonschema_rs.Draft202012Validator":
    """Raises ValueError. Offline: a reference to elsewhere is an error, and not a request."""
    import jsonschema_rs  # 100 ms, for who needs it

    return jsonschema_rs.Draft202012Validator(
        msgspec.json.decode(schema),
        validate_formats=True,
        pattern_options=jsonschema_rs.RegexOptions(),
        mask="the value",
        offline=True,
    )


def _candidates(text: str) -> Iterable[str]:
    """All of it, and each value that begins at one of its first brackets."""
    yield text.strip()
    read, at = json.JSONDecoder().raw_decode, 0
    for _ in range(_BRACKETS_MAX):
        found = _BRACKET.search(text, at)
        if found is None:
            return
        at = found.start() + 1
        try:
            _, at = read(text, found.start())
        except (ValueError, RecursionError):
            continue
        yield text[found.start() : at]


def _wish(schema: dict[str, Any]) -> str:
    form = msgspec.json.format(_compact(_form(schema, schema, 0)), indent=0)  # spaced, as models have read it
    if len(form) > _FORM_MAX or form == "{}":
        return "Answer with a JSON object, and nothing else."
    return f"Answer with JSON in this form, and nothing else:\n{form}"


def _form(schema: Any, root: dict[str, Any], depth: int) -> Any:
    """A value of that shape; of what has many shapes, the first."""
    if not isinstance(schema, dict) or depth > _FORM_DEPTH_MAX:
        return "..."
    for name in ("const", "default"):
        if name in schema:
            return schema[name]
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    if isinstance(reference := schema.get("$ref"), str):
        return _form(schemas.referred(reference, root), root, depth + 1)
    for name in ("anyOf", "oneOf", "allOf"):
        if isinstance(options := schema.get(name), list) and options:
            return _form(options[0], root, depth + 1)
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    properties = schema.get("properties")
    if kind == "object" or properties:
        found = properties if isinstance(properties, dict) else {}
        return {name: _form(each, root, depth + 1) for name, each in found.items()}
    if kind == "array":
        return [_form(schema.get("items"), root, depth + 1)]
    return _SAMPLES.get(kind, "...") if isinstance(kind, str) else "..."


def _says_all(schema: Any) -> bool:
    """Whether a form shows everything that a schema asks for."""
    if not isinstance(schema, dict):
        return True
    if schema.keys() - _SIMPLE or not isinstance(schema.get("type", ""), str):
        return False
    named = [each for name in ("properties", "$defs") for each in (schema.get(name) or {}).values()]
    return all(_says_all(each) for each in [*named, schema.get("items")])


def _compact(value: Any) -> str:
    return msgspec.json.encode(value).decode()
