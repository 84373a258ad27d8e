"""`POST /v1/embeddings`: texts or tokens in, vectors out, as numbers or as base64 of little-endian float32."""

import base64
import struct
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from headrace import errors
from headrace.state.table import Ability
from headrace.wire import answer, sampling
from headrace.wire.call import PREFIX_MAX_BYTES, Call, estimate
from headrace.wire.reading import flat, read, size_of, unsupported
from headrace.wire.usage import Counts

PATH: Final = "/v1/embeddings"
INPUTS_MAX: Final = 2048

_Tokens = Annotated[list[sampling.TokenId], Meta(min_length=1, max_length=100_000)]
Input = (
    Annotated[str, Meta(min_length=1)]
    | Annotated[
        list[Annotated[str, Meta(min_length=1)] | sampling.TokenId | _Tokens], Meta(min_length=1, max_length=100_000)
    ]
)


class EmbeddingRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Everything a client may send."""

    model: sampling.Model
    input: Input
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=65536)] | None = None
    user: sampling.Label | None = None


class EmbeddingOut(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What an engine is sent."""

    model: str
    input: Any
    encoding_format: str = ""
    dimensions: int | None = None


class Vector(msgspec.Struct):
    """One embedding, its numbers as they came."""

    embedding: msgspec.Raw
    index: int
    object: str = "embedding"


class Vectors(msgspec.Struct, kw_only=True):
    """An answer."""

    object: str = "list"
    data: list[Vector]
    model: str = ""
    usage: Any = None


_DECODER: Final = msgspec.json.Decoder(EmbeddingRequest)
_VECTORS: Final = msgspec.json.Decoder(Vectors)
_NUMBERS: Final = msgspec.json.Decoder(list[float])
_TEXT: Final = msgspec.json.Decoder(str)


class EmbeddingCall(Call, kw_only=True):
    """An embedding request that has been read."""

    request: EmbeddingRequest

    def render(
        self,
        ability: Ability,
        upstream_model: str,
        output_default: int,  # noqa: ARG002 - nothing is generated
        context_tokens: int,
    ) -> tuple[str, bytes]:
        """See `Call.render`."""
        request = self.request
        self.check_context(context_tokens * self.items)
        if request.dimensions is not None and "dimensions" not in ability.parameters:
            raise unsupported("dimensions")
        out = EmbeddingOut(
            model=upstream_model,
            input=request.input,
            encoding_format=request.encoding_format or "float",
            dimensions=request.dimensions,
        )
        return PATH, msgspec.json.encode(out)

    def finish(
        self,
        body: bytes,
        request_id: str,  # noqa: ARG002 - vectors have no id
        counts: Counts | None = None,
    ) -> bytes:
        """See `Call.finish`. Vectors in the other coding than was asked for are recoded."""
        made = answer.decode(_VECTORS, body)
        if sorted(vector.index for vector in made.data) != list(range(self.items)):
            raise errors.Transient("the engine gave another number of vectors than was asked for")
        coded = self.request.encoding_format == "base64"
        for vector in made.data:
            vector.object = "embedding"
            first = bytes(memoryview(vector.embedding)[:1])
            if first not in (b'"', b"["):
                raise errors.Transient("the engine gave a vector that is not valid")
            if (first == b'"') is not coded:
                vector.embedding = _recoded(vector.embedding, coded)
        made.object = "list"
        made.model = self.model
        usage = answer.usage_of(made.usage, counts, generated=False)
        made.usage = {"prompt_tokens": 0, "total_tokens": 0} if usage is msgspec.UNSET else usage
        return msgspec.json.encode(made)


def parse(body: bytes) -> Call:
    """The body of an embedding request. Raises Invalid."""
    request = read(_DECODER, body, EmbeddingRequest.__struct_fields__)
    try:
        inputs = flat(request.input)
    except ValueError as error:
        raise errors.Invalid(f"Invalid value for 'input': {error}.", param="input") from None
    if len(inputs) > INPUTS_MAX:
        raise errors.Invalid(f"'input' has {len(inputs)} items; the limit is {INPUTS_MAX}.", param="input")
    size = sum(size_of(item) if isinstance(item, str) else 3 * len(item) for item in inputs)
    return EmbeddingCall(
        model=request.model,
        task="embed",
        endpoint="embeddings",
        items=len(inputs),
        input_bytes=size,
        input_tokens=estimate(size, 0) + 2 * len(inputs),
        output_max=0,
        prefix=str(inputs[0][:PREFIX_MAX_BYTES]).encode()[:PREFIX_MAX_BYTES],
        request=request,
    )


def _recoded(raw: msgspec.Raw, coded: bool) -> msgspec.Raw:
    try:
        if coded:
            numbers = _NUMBERS.decode(raw)
            packed = struct.pack(f"<{len(numbers)}f", *numbers)
            return msgspec.Raw(msgspec.json.encode(base64.b64encode(packed).decode()))
        packed = base64.b64decode(_TEXT.decode(raw), validate=True)
        return msgspec.Raw(msgspec.json.encode(struct.unpack(f"<{len(packed) // 4}f", packed)))
    except (msgspec.MsgspecError, ValueError, OverflowError, struct.error):
        raise errors.Transient("the engine gave a vector that is not valid") from None
