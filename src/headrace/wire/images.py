"""`POST /v1/images/generations`, `/v1/images/edits` and `/v1/images/upscale`: what is taken, with its bounds.

An edit may also be asked of a model that enlarges, which OpenAI's API has no path for.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from headrace import errors
from headrace.wire import media, multipart, sampling
from headrace.wire.call import Call, estimate
from headrace.wire.pictures import PictureCall
from headrace.wire.reading import read, size_of, unsupported

PROMPT_MAX: Final = 32_000
PICTURES_MAX: Final = 16
_SIZE: Final = r"^(auto|[1-9][0-9]{1,4}x[1-9][0-9]{1,4})$"
_FIELDS: Final = (
    "model", "prompt", "image", "image[]", "mask", "n", "size", "seed", "strength", "scale", "response_format",
    "output_format", "output_compression", "quality", "background", "moderation", "user", "stream", "input_fidelity",
)  # fmt: skip

Count = Annotated[int, Meta(ge=1, le=10)]
Size = Annotated[str, Meta(pattern=_SIZE)]
Form = Literal["png", "jpeg", "webp"]


class ImageRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Everything a client may send for pictures of words. `seed` is ours: the same words and seed, the same picture."""

    model: sampling.Model
    prompt: Annotated[str, Meta(min_length=1, max_length=PROMPT_MAX)]
    n: Count | None = None
    size: Size | None = None
    seed: sampling.Seed | None = None
    response_format: Literal["url", "b64_json"] | None = None
    output_format: Form | None = None
    output_compression: Annotated[int, Meta(ge=0, le=100)] | None = None
    quality: Literal["auto", "standard", "low", "medium", "high", "hd"] | None = None
    background: Literal["auto", "opaque", "transparent"] | None = None
    moderation: Literal["auto", "low"] | None = None
    style: Literal["vivid", "natural"] | None = None
    stream: bool | None = None
    partial_images: Annotated[int, Meta(ge=0, le=3)] | None = None
    user: sampling.Label | None = None


class UpscaleRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A picture to enlarge, as a data: URL or base64."""

    model: sampling.Model
    image: Annotated[str, Meta(min_length=1)]
    scale: Annotated[int, Meta(ge=1, le=16)] | None = None
    output_format: Form | None = None
    response_format: Literal["b64_json"] | None = None
    user: sampling.Label | None = None


_IMAGE: Final = msgspec.json.Decoder(ImageRequest)
_UPSCALE: Final = msgspec.json.Decoder(UpscaleRequest)


def parse(body: bytes, content_type: bytes) -> Call:  # noqa: ARG001 - the signature is the endpoint's
    """The body of a request for pictures of words. Raises Invalid."""
    request = read(_IMAGE, body, ImageRequest.__struct_fields__)
    for name in ("style", "partial_images"):
        if getattr(request, name):
            raise unsupported(name)
    _check(request.response_format, request.quality, request.background, request.output_compression)
    return PictureCall(
        model=request.model,
        task="image",
        endpoint="images.generations",
        stream=request.stream is True,
        buffered=request.stream is True,
        include_usage=request.stream is True,
        items=request.n or 1,
        input_tokens=estimate(size_of(request.prompt), 0),
        output_max=0,
        prompt=request.prompt,
        size=request.size or "auto",
        seed=request.seed,
        form=request.output_format or "png",
    )


def parse_edit(body: bytes, content_type: bytes) -> Call:
    """The form of a request for pictures of pictures. Raises Invalid."""
    form = multipart.read(body, content_type)
    form.known(*_FIELDS)
    if form.text("stream") == "true":
        raise unsupported("stream", "is not supported for edits; leave it out")
    compression = form.number("output_compression", 0, 100)
    _check(
        form.text("response_format"),
        form.text("quality"),
        form.text("background"),
        None if compression is None else int(compression),
    )
    if form.text("input_fidelity") not in (None, "low"):
        raise unsupported("input_fidelity")
    given = [part.data for part in form.files("image")]
    if not 0 < len(given) <= PICTURES_MAX:
        if not given:
            raise multipart.missing("image")
        raise errors.Invalid(f"'image' has {len(given)} pictures; the limit is {PICTURES_MAX}.", param="image")
    masks = form.files("mask")
    return _given(
        endpoint="images.edits",
        model=_model(form),
        prompt=form.text("prompt", PROMPT_MAX) or "",
        given=given,
        mask=masks[0].data if masks else None,
        items=int(form.number("n", 1, 10) or 1),
        size=_one_of_sizes(form.text("size")),
        seed=None if (seed := form.number("seed", -(2**53), 2**53)) is None else int(seed),
        form=_one_form(form.text("output_format")),
        strength=form.number("strength", 0, 1),
        scale=None if (scale := form.number("scale", 1, 16)) is None else int(scale),
    )


def parse_upscale(body: bytes, content_type: bytes) -> Call:
    """A picture to enlarge, as JSON or as a form. Raises Invalid."""
    if not multipart.is_form(content_type):
        request = read(_UPSCALE, body, UpscaleRequest.__struct_fields__, limit=media.IMAGE_BYTES_MAX * 4 // 3 + 4_096)
        return _given(
            endpoint="images.upscale",
            model=request.model,
            given=[media.data_url(request.image, "image")],
            scale=request.scale,
            form=request.output_format or "png",
        )
    form = multipart.read(body, content_type)
    form.known("model", "image", "scale", "output_format", "response_format", "user")
    return _given(
        endpoint="images.upscale",
        model=_model(form),
        given=[form.file("image").data],
        scale=None if (scale := form.number("scale", 1, 16)) is None else int(scale),
        form=_one_form(form.text("output_format")),
    )


def _given(*, endpoint: str, model: str, given: list[bytes], items: int = 1, **more: Any) -> PictureCall:
    """A call that begins with pictures; each is looked at as far as can be without knowing the model."""
    for picture in given:
        media.picture(picture, None, "image")
    enlarges = endpoint == "images.upscale"
    return PictureCall(
        model=model,
        task="upscale" if enlarges else "image",
        also=() if enlarges else ("upscale",),
        endpoint=endpoint,
        items=items,
        output_max=0,
        given=tuple(given),
        **more,
    )


def _check(response_format: str | None, quality: str | None, background: str | None, compression: int | None) -> None:
    if response_format == "url":
        raise unsupported("response_format", "as url is not supported: pictures are not kept here; ask for b64_json")
    if response_format not in (None, "b64_json"):
        raise unsupported("response_format", f"is {response_format[:40]!r}; give b64_json")
    if quality not in (None, "auto", "standard"):
        raise unsupported("quality", "other than auto is not supported by this model")
    if background not in (None, "auto", "opaque"):
        raise unsupported("background", "other than opaque is not supported by this model")
    if compression not in (None, 100):
        raise unsupported("output_compression")


def _model(form: multipart.Form) -> str:
    model = form.text("model", 256)
    if model is None:
        raise multipart.missing("model")
    return model


def _one_of_sizes(size: str | None) -> str:
    if size is None:
        return "auto"
    try:
        return msgspec.convert(size, Size)
    except msgspec.ValidationError:
        raise errors.Invalid(f"Invalid value for 'size': {size[:40]!r}; write it like 256x256.", param="size") from None


def _one_form(form: str | None) -> str:
    if form not in (None, "png", "jpeg", "webp"):
        raise errors.Invalid(
            f"Invalid value for 'output_format': {form[:40]!r}; give png, jpeg or webp.", param="output_format"
        )
    return form or "png"
