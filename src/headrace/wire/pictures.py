"""A request for pictures that has been read: of words, of other pictures, or larger than they were.

Pictures go to engines as base64 in JSON and come back so; a foreign server of OpenAI's kind is sent the form that
OpenAI's own API takes. `wire.images` makes these calls of what clients send.
"""

import base64
import hashlib
from typing import Any, Final

import msgspec

from headrace import errors
from headrace.state.table import Ability, Media
from headrace.wire import answer, media, multipart
from headrace.wire.call import Call
from headrace.wire.reading import unsupported
from headrace.wire.usage import Counts

GENERATIONS: Final = "/v1/images/generations"
EDITS: Final = "/v1/images/edits"
UPSCALE: Final = "/v1/images/upscale"


class _Item(msgspec.Struct):
    b64_json: str


class _Made(msgspec.Struct, kw_only=True):
    data: list[_Item]
    created: int = 0
    usage: Any = None


_MADE: Final = msgspec.json.Decoder(_Made)
_TYPES: Final = {"iVBORw0KGgo": "png", "/9j/": "jpeg", "UklGR": "webp"}


class PictureCall(Call, kw_only=True):
    """A request for pictures: what all three have in common. `given` are pictures to begin with, `scale` enlarges."""

    prompt: str = ""
    size: str = "auto"
    seed: int | None = None
    form: str = "png"
    given: tuple[bytes, ...] = ()
    mask: bytes | None = None
    strength: float | None = None
    scale: int | None = None

    def render(
        self,
        ability: Ability,
        upstream_model: str,
        output_default: int,  # noqa: ARG002 - no tokens are generated
        context_tokens: int,  # noqa: ARG002 - there is no context
    ) -> tuple[str, bytes]:
        """See `Call.render`."""
        takes = ability.media or Media()
        for index, picture in enumerate(self.given):
            media.picture(picture, takes, "image" if len(self.given) == 1 else f"image[{index}]")
        if self.mask is not None:
            media.picture(self.mask, takes, "mask")
        if takes.scales:
            return self._upscale(takes, upstream_model)
        self._size(takes)
        if takes.formats and self.form not in takes.formats:
            raise unsupported("output_format", f"as {self.form} is not made by this model; {_list(takes.formats)} are")
        if not self.given:
            out = self._common(upstream_model, ability)
            return GENERATIONS, msgspec.json.encode({**out, "prompt": self.prompt})
        if not takes.edits and ability.dialect == "headrace":
            raise unsupported("image", "is not supported by this model, which draws from words alone")
        return self._edit(upstream_model, ability)

    def counts(self, body: bytes, dialect: str) -> Counts | None:  # noqa: ARG002 - pictures are counted, not told
        """See `Call.counts`: as many as there are."""
        try:
            return Counts(items=len(_MADE.decode(body).data))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None

    def guess(self, *, output_bytes: int = 0, pieces: int = 0) -> Counts:  # noqa: ARG002 - pictures have no tokens
        """See `Call.guess`."""
        return Counts(items=self.items)

    def finish(self, body: bytes, request_id: str, counts: Counts | None = None) -> bytes:  # noqa: ARG002 - no id
        """See `Call.finish`."""
        made = self._checked(body)
        shown = {
            "created": made.created,
            "data": [{"b64_json": item.b64_json} for item in made.data],
            "output_format": _kind(made.data[0].b64_json) or self.form,
            "usage": self._usage(counts),
        }
        return msgspec.json.encode(shown)

    def finish_stream(self, body: bytes, request_id: str, created_s: int, counts: Counts | None = None) -> list[bytes]:  # noqa: ARG002 - no id
        """See `Call.finish_stream`: one event for each picture."""
        made = self._checked(body)
        kind = "image_edit.completed" if self.given else "image_generation.completed"
        events = []
        for item in made.data:
            shown = {
                "type": kind,
                "b64_json": item.b64_json,
                "created_at": made.created or created_s,
                "size": self.size,
                "quality": "auto",
                "background": "opaque",
                "output_format": _kind(item.b64_json) or self.form,
                "usage": self._usage(counts),
            }
            events.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode(shown)))
        return events

    def _checked(self, body: bytes) -> _Made:
        made = answer.decode(_MADE, body)
        if not 0 < len(made.data) <= self.items:
            raise errors.Transient("the engine gave another number of pictures than was asked for")
        if not all(_kind(item.b64_json) for item in made.data):
            raise errors.Transient("the engine gave something that is no picture")
        return made

    def _usage(self, counts: Counts | None) -> dict[str, Any]:
        """OpenAI's fields, in which no token is counted, and how many pictures there are."""
        zero = {"text_tokens": 0, "image_tokens": 0}
        shown: dict[str, Any] = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0, "input_tokens_details": zero}
        if counts is not None:
            shown["images"] = counts.items
            if counts.bill is not None:
                shown["headrace"] = counts.bill
        return shown

    def _size(self, takes: Media) -> None:
        if self.size != "auto" and takes.sizes and self.size not in takes.sizes:
            raise errors.Invalid(
                f"Invalid value for 'size': {self.size}; this model makes {_list(takes.sizes)}.",
                param="size",
                code="unsupported_value",
            )

    def _common(self, upstream_model: str, ability: Ability) -> dict[str, Any]:
        made: dict[str, Any] = {"model": upstream_model, "n": self.items}
        sizes = ability.media.sizes if ability.media else ()
        if self.size != "auto" or sizes:
            made["size"] = self.size if self.size != "auto" else sizes[0]
        if ability.dialect == "headrace":
            made["output_format"] = self.form
        if self.seed is not None:
            if ability.dialect != "headrace" and "seed" not in ability.parameters:
                raise unsupported("seed")
            made["seed"] = self.seed
        if ability.dialect == "openai" and "response_format" in ability.parameters:
            made["response_format"] = "b64_json"
        return made

    def _edit(self, upstream_model: str, ability: Ability) -> tuple[str, bytes]:
        made = {**self._common(upstream_model, ability), "prompt": self.prompt}
        if self.strength is not None:
            made["strength"] = self.strength
        if ability.dialect == "headrace":
            self.content_type = b""
            made["images"] = [base64.b64encode(picture).decode() for picture in self.given]
            if self.mask is not None:
                made["mask"] = base64.b64encode(self.mask).decode()
            return EDITS, msgspec.json.encode(made)
        parts = [multipart.Part(name, str(value).encode()) for name, value in made.items()]
        parts += [multipart.Part("image[]", picture, "image.png") for picture in self.given]
        if self.mask is not None:
            parts.append(multipart.Part("mask", self.mask, "mask.png"))
        self.content_type, body = formed(parts)
        return EDITS, body

    def _upscale(self, takes: Media, upstream_model: str) -> tuple[str, bytes]:
        if len(self.given) != 1:
            raise (
                multipart.missing("image")
                if not self.given
                else errors.Invalid(
                    f"This model enlarges one picture a request; there are {len(self.given)}.", param="image"
                )
            )
        if self.mask is not None:
            raise unsupported("mask")
        scale = self.scale or takes.scales[0]
        if scale not in takes.scales:
            raise errors.Invalid(
                f"Invalid value for 'scale': {scale}; this model enlarges by {_list(takes.scales)}.",
                param="scale",
                code="unsupported_value",
            )
        self.content_type = b""
        picture = base64.b64encode(self.given[0]).decode()
        out = {"model": upstream_model, "image": picture, "scale": scale, "output_format": self.form}
        return UPSCALE, msgspec.json.encode(out)


def formed(parts: list[multipart.Part]) -> tuple[bytes, bytes]:
    """The content type of a form, and its body. The boundary is made of what is in it, so that it is nowhere in it."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.data)
    boundary = b"headrace-" + digest.hexdigest()[:48].encode()  # RFC 2046 allows 70 characters
    return b"multipart/form-data; boundary=" + boundary, multipart.write(parts, boundary)


def _kind(coded: str) -> str:
    """What a picture in base64 is by its first letters; empty when it is none."""
    return next((kind for opening, kind in _TYPES.items() if coded.startswith(opening)), "")


def _list(values: tuple[Any, ...]) -> str:
    return ", ".join(map(str, values))
