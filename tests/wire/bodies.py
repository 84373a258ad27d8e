"""Requests and answers the tests of this room share."""

import gzip
import json
from pathlib import Path

from headrace.state.table import Ability
from headrace.wire.call import Call
from headrace.wire.endpoint import endpoint

LLAMA = Ability(dialect="llama_cpp", parameters=("top_k", "min_p", "typical_p", "repeat_penalty", "ignore_eos"))
NATIVE = Ability(dialect="vllm", tools=True)
CHAT = "/v1/chat/completions"
HI = [{"role": "user", "content": "Hi"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
DATA = Path(__file__).parents[1] / "data"
DESCRIPTION = json.loads(gzip.decompress((DATA / "openai-served.json.gz").read_bytes()))
RESPONSES = json.loads(gzip.decompress((DATA / "openai-responses.json.gz").read_bytes()))


def read(path: str, **fields: object) -> Call:
    target = endpoint(path)
    assert target is not None
    return target.parse(json.dumps({"model": "m", **fields}).encode())


def chat(**fields: object) -> Call:
    return read(CHAT, **{"messages": HI, **fields})


def sent(call: Call, ability: Ability = LLAMA) -> dict:
    return json.loads(call.render(ability, "up", 64, 2048)[1])


def chat_body(content: str = "Hi", finish: str = "stop", **more: object) -> bytes:
    """As llama.cpp answers: no refusal, no logprobs, timings of its own."""
    message = {"role": "assistant", "content": content}
    body = {
        "choices": [{"finish_reason": finish, "index": 0, "message": message}],
        "created": 1795466047,
        "model": "file-q40",
        "object": "chat.completion",
        "usage": {"completion_tokens": 2, "prompt_tokens": 3, "total_tokens": 5},
        "id": "chatcmpl-x",
        "timings": {"cache_n": 1, "prompt_ms": 1.5, "predicted_ms": 2.5},
    }
    return json.dumps({**body, **more}).encode()


def conforms(schema: str, body: bytes | dict, description: dict = DESCRIPTION) -> None:
    """Raises where the body is not what OpenAI's description says."""
    import jsonschema

    value = json.loads(body) if isinstance(body, bytes) else body
    whole = {"$ref": f"#/components/schemas/{schema}", "components": description["components"]}
    jsonschema.Draft202012Validator(whole).validate(value)


def chunk(delta: dict, finish: str | None = None, **more: object) -> bytes:
    """One event of an engine's stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish, **more}
    body = {"id": "c-1", "object": "chat.completion.chunk", "created": 7, "model": "file", "choices": [choice]}
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


def parts_stream(parts: list[tuple[str, list[str]]], finish: str = "stop") -> bytes:
    """An engine's stream of parts: `text` or `reasoning` with pieces, `tool` with a name and pieces of arguments."""
    out, calls = [chunk({"role": "assistant", "content": None})], 0
    for kind, pieces in parts:
        if kind == "tool":
            name, *rest = pieces
            head = {"index": calls, "id": f"call_{calls}", "type": "function"}
            out.append(chunk({"tool_calls": [{**head, "function": {"name": name, "arguments": ""}}]}))
            out += [chunk({"tool_calls": [{"index": calls, "function": {"arguments": piece}}]}) for piece in rest]
            calls += 1
        else:
            out += [chunk({{"text": "content", "reasoning": "reasoning_content"}[kind]: piece}) for piece in pieces]
    usage = {
        "completion_tokens": 3,
        "prompt_tokens": 5,
        "total_tokens": 8,
        "prompt_tokens_details": {"cached_tokens": 2},
    }
    last = {
        "id": "c-1",
        "object": "chat.completion.chunk",
        "created": 7,
        "model": "file",
        "choices": [],
        "usage": usage,
    }
    return b"".join([*out, chunk({}, finish), b"data: " + json.dumps(last).encode() + b"\n\n", b"data: [DONE]\n\n"])


def events(stream: bytes) -> list[tuple[str, dict]]:
    """The named events of a stream, in order."""
    found = []
    for block in stream.split(b"\n\n")[:-1]:
        name, data = block.split(b"\n")
        found.append((name.removeprefix(b"event: ").decode(), json.loads(data.removeprefix(b"data: "))))
    return found
