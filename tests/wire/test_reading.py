"""Bodies that are not what they should be: always 400 with words, never another exception."""

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import errors
from headrace.wire import reading
from headrace.wire.call import Call
from headrace.wire.endpoint import ROUTES
from tests.wire.bodies import LLAMA

DEEP = {
    "messages": b'{"model":"m","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "metadata": b'{"model":"m","messages":[],"metadata":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
    "schema": b'{"model":"m","tools":[{"type":"function","function":{"name":"x","parameters":'
    + b'{"a":' * 100_000
    + b"1"
    + b"}" * 100_002
    + b"]}",
    "unknown": b'{"model":"m","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "bare": b"[" * 100_000,
}
MALFORMED = {
    "empty": b"",
    "cut": b'{"model": "m", ',
    "two": b"{} {}",
    "NaN": b'{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":NaN}',
    "Infinity": b'{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":-Infinity}',
    "too large": b'{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":1e999}',
    "invalid UTF-8": b'{"model":"m","messages":[{"role":"user","content":"\xff\xfe"}]}',
    "overlong UTF-8": b'{"model":"m","messages":[{"role":"user","content":"\xc0\x80"}]}',
    "a surrogate in UTF-8": b'{"model":"m","messages":[{"role":"user","content":"\xed\xa0\x80"}]}',
    "a lone surrogate": b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}',
    "a lone low surrogate": b'{"model":"m","messages":[{"role":"user","content":"\\udc00x"}]}',
    "a list": b"[]",
    "null": b"null",
    "a number too long": b'{"model":"m","seed":' + b"9" * 10_000 + b"}",
}

FORM_PATHS = ["/v1/images/edits", "/v1/audio/transcriptions", "/v1/audio/translations"]
JSON_PATHS = [path for path in ROUTES if path not in FORM_PATHS]


@pytest.mark.parametrize("path", FORM_PATHS)
@pytest.mark.parametrize("kind", [b"application/json", b"", b"text/plain"])
def test_a_path_for_files_takes_forms_alone(path: str, kind: bytes):
    """With words about what it got."""
    with pytest.raises(errors.Invalid) as refused:
        ROUTES[path].parse(b"{}", kind)
    assert (refused.value.status, refused.value.code) == (415, "unsupported_media_type")
    assert (kind.decode() or "nothing") in refused.value.message


@pytest.mark.parametrize("path", JSON_PATHS)
@pytest.mark.parametrize("name", [*DEEP, *MALFORMED])
def test_a_malformed_body_is_refused_with_words(path: str, name: str):
    """On every path."""
    with pytest.raises(errors.Invalid) as refused:
        ROUTES[path].parse({**DEEP, **MALFORMED}[name])
    assert refused.value.status == 400
    assert 20 < len(refused.value.message) < 400


def test_a_name_that_is_nearly_known_is_told():
    """Did you mean."""
    with pytest.raises(errors.Invalid) as refused:
        ROUTES["/v1/chat/completions"].parse(b'{"model":"m","messages":[{"role":"user","content":"x"}],"max_token":3}')
    assert refused.value.message.startswith("Unrecognized request argument supplied: max_token.")
    assert refused.value.message.endswith("Did you mean 'max_tokens'?")


def test_a_hostile_name_is_quoted_in_part():
    """And costs nothing."""
    with pytest.raises(errors.Invalid) as refused:
        ROUTES["/v1/embeddings"].parse(json.dumps({"x" * 1_000_000: 1}).encode())
    assert len(refused.value.message) < 400


def test_a_body_over_the_limit_is_413():
    """Before it is read."""
    with pytest.raises(errors.Invalid) as refused:
        ROUTES["/v1/embeddings"].parse(b" " * (reading.BODY_MAX_BYTES + 1))
    assert (refused.value.status, refused.value.code) == (413, "request_too_large")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


def _fields(path: str) -> tuple[str, ...]:
    struct = {
        "/v1/chat/completions": "chat_request.ChatRequest",
        "/v1/completions": "completions.CompletionRequest",
        "/v1/embeddings": "embeddings.EmbeddingRequest",
        "/v2/rerank": "rerank.RerankRequest",
        "/v1/responses": "responses.ResponsesRequest",
        "/v1/messages": "anthropic.MessagesRequest",
    }[path]
    from headrace.wire import anthropic, chat_request, completions, embeddings, rerank, responses

    rooms = {"chat_request": chat_request, "completions": completions, "embeddings": embeddings, "rerank": rerank,
             "responses": responses, "anthropic": anthropic}  # fmt: skip
    room, name = struct.split(".")
    return msgspec.structs.fields(getattr(rooms[room], name))


GOOD = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "x"}]},
    "/v1/completions": {"prompt": "x"},
    "/v1/embeddings": {"input": "x"},
    "/v2/rerank": {"query": "x", "documents": ["y"]},
    "/v1/responses": {"input": "x"},
    "/v1/messages": {"messages": [{"role": "user", "content": "x"}], "max_tokens": 9},
}


@pytest.mark.parametrize("path", GOOD)
def test_any_value_in_any_field_is_taken_or_refused(path: str):
    """`Invalid` is the only exception there is, at reading and at rendering."""
    names = [field.encode_name for field in _fields(path)]

    @settings(max_examples=150, deadline=None)
    @given(st.dictionaries(st.sampled_from(names), JSON, max_size=3))
    def probe(fields: dict) -> None:
        body = json.dumps({"model": "m", **GOOD[path], **fields}).encode()
        try:
            call = ROUTES[path].parse(body)
            upstream, sent = call.render(LLAMA, "up", 64, 2048)
        except errors.Invalid:
            return
        assert isinstance(call, Call)
        assert upstream.startswith("/v1/")
        assert json.loads(sent)["model"] == "up"

    probe()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_taken_or_refused(body: bytes):
    """`Invalid`, whatever they are."""
    for target in ROUTES.values():
        with pytest.raises(errors.Invalid):
            target.parse(body)
