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
DESCRIPTION = json.loads(gzip.decompress((Path(__file__).parents[1] / "data" / "openai-served.json.gz").read_bytes()))


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


def conforms(schema: str, body: bytes | dict) -> None:
    """Raises where the body is not what OpenAI's description says."""
    import jsonschema

    value = json.loads(body) if isinstance(body, bytes) else body
    whole = {"$ref": f"#/components/schemas/{schema}", "components": DESCRIPTION["components"]}
    jsonschema.Draft202012Validator(whole).validate(value)
