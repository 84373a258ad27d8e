"""Pictures and sound between steps: objects by the digest of their bytes, of which values hold only a mention.

A mention is `{"artifact": DIGEST, "type": "image/png", "bytes": 1234}`; its key is the digest with a word before it, so
that no model's JSON becomes one by chance. What is sent to a model has the bytes in the mention's place, what a model
answers has mentions in the place of bytes: the journal never holds a picture.
"""

import base64
import binascii
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from headrace.errors import Invalid
from headrace.pipelines.ports import Objects

MARK: Final = "sha256:"
INPUT_BYTES_MAX: Final = 32 << 20
_OPENINGS: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"\xff\xf3", "audio/mpeg"),
)
_ENDS: Final = {
    "image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "audio/wav": "wav", "audio/mpeg": "mp3",
    "audio/ogg": "ogg", "audio/flac": "flac", "video/mp4": "mp4",
}  # fmt: skip


class Upload(msgspec.Struct, frozen=True):
    """A file within a form."""

    name: str
    type: str
    data: bytes


def is_mention(value: Any) -> bool:
    """Whether a value stands for an object."""
    return (
        isinstance(value, dict)
        and value.keys() == {"artifact", "type", "bytes"}
        and isinstance(value["artifact"], str)
        and value["artifact"].startswith(MARK)
        and type(value["bytes"]) is int
        and value["bytes"] >= 0
    )


async def keep(objects: Objects, data: bytes) -> dict[str, Any]:
    """Put bytes away; the mention of them."""
    return {"artifact": MARK + await objects.put(data), "type": kind_of(data), "bytes": len(data)}


async def load(objects: Objects, mention: dict[str, Any]) -> bytes:
    """The bytes of a mention. Raises Permanent when they are gone or damaged."""
    return await objects.get(mention["artifact"].removeprefix(MARK))


async def filled(objects: Objects, value: Any, *, form: bool = False) -> Any:
    """A request with bytes in the place of mentions: files of a form, else data: URLs."""
    if is_mention(value):
        data, kind = await load(objects, value), value["type"]
        if form:
            return Upload(f"file.{_ENDS.get(kind, 'bin')}", kind, data)
        return f"data:{kind};base64,{base64.b64encode(data).decode()}"
    if isinstance(value, dict):
        return {key: await filled(objects, inner, form=form) for key, inner in value.items()}
    if isinstance(value, list):
        return [await filled(objects, inner, form=form) for inner in value]
    return value


async def taken(objects: Objects, answer: Any) -> Any:
    """An answer with mentions in the place of bytes: of a whole body that is no JSON, and of each `b64_json`."""
    if isinstance(answer, bytes):
        return await keep(objects, answer)
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list) or not any(isinstance(one, dict) and "b64_json" in one for one in data):
        return answer
    return {**answer, "data": [await keep(objects, _decoded(one["b64_json"])) for one in data]}


async def given(objects: Objects, inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs of a run, files put away. A file is sent as `{"base64": TEXT}`. Raises Invalid.

    A mention is not taken from a client: it would read whatever it can name.
    """
    made = {}
    for name, value in inputs.items():
        if isinstance(value, dict) and value.keys() == {"base64"}:
            data = _decoded(value["base64"])
            if len(data) > INPUT_BYTES_MAX:
                raise Invalid(f"the input {name} has {len(data)} bytes; the limit is {INPUT_BYTES_MAX}", param=name)
            made[name] = await keep(objects, data)
        elif next(mentions(value), None) is not None:
            raise Invalid(f"the input {name} names an object; send the file itself, like {name}=@FILE", param=name)
        else:
            made[name] = value
    return made


def file_bytes(inputs: dict[str, Any]) -> int:
    """How many bytes the files among the inputs have."""
    texts = [value["base64"] for value in inputs.values() if isinstance(value, dict) and value.keys() == {"base64"}]
    return sum(len(text) * 3 // 4 - text[-2:].count("=") for text in texts if isinstance(text, str))


def is_kept(value: Any) -> bool:
    """Whether a value in the journal says where it is kept. One that only looks like it is kept as an object itself."""
    return isinstance(value, dict) and value.keys() == {"$object"}


async def whole(objects: Objects, kept: Any) -> Any:
    """A value that was put away because it is large (`{"$object": DIGEST}`), or itself."""
    if is_kept(kept):
        return msgspec.json.decode(await objects.get(kept["$object"]))
    return kept


def mentions(value: Any) -> Iterator[dict[str, Any]]:
    """All mentions within a value, in order."""
    if is_mention(value):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from mentions(inner)


def holdings(value: Any) -> Iterator[tuple[str, int]]:
    """Digest and bytes of all that a value mentions."""
    for one in mentions(value):
        yield one["artifact"].removeprefix(MARK), one["bytes"]


def named(step: str, found: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Names of a step's artifacts, as files of a folder.

    >>> one = {"artifact": "sha256:0", "type": "image/png", "bytes": 1}
    >>> [name for name, _ in named("draw[3]@2", [one, one])], named("draw", [one])[0][0]
    (['draw-3-2.1.png', 'draw-3-2.2.png'], 'draw.png')
    """
    stem = step.replace("[", "-").replace("]", "").replace("@", "-")
    return [
        (f"{stem}{f'.{place}' if len(found) > 1 else ''}.{_ENDS.get(one['type'], 'bin')}", one)
        for place, one in enumerate(found, 1)
    ]


def kind_of(data: bytes) -> str:
    r"""The media type by the first bytes.

    >>> kind_of(b"RIFF\0\0\0\0WAVEfmt "), kind_of(b"hello")
    ('audio/wav', 'application/octet-stream')
    """
    for opening, kind in _OPENINGS:
        if data.startswith(opening):
            return kind
    if data[:4] == b"RIFF" and data[8:12] in (b"WAVE", b"WEBP"):
        return "audio/wav" if data[8:12] == b"WAVE" else "image/webp"
    return "video/mp4" if data[4:8] == b"ftyp" else "application/octet-stream"


def _decoded(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise Invalid("what should be base64 is not") from None
