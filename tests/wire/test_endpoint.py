"""The route table."""

import json

from headrace.wire.endpoint import ROUTES, body_bytes_max, endpoint, parse, voice_of


def test_paths_and_aliases():
    """With and without /v1; Cohere's form under /v2 alone; nothing else."""
    assert {path: route.name for path, route in ROUTES.items() if path.startswith("/v")} == {
        "/v1/chat/completions": "chat.completions",
        "/v1/completions": "completions",
        "/v1/embeddings": "embeddings",
        "/v1/responses": "responses",
        "/v1/responses/input_tokens": "responses.input_tokens",
        "/v1/messages": "messages",
        "/v1/messages/count_tokens": "messages.count_tokens",
        "/v1/rerank": "rerank",
        "/v2/rerank": "rerank.cohere",
        "/v1/images/generations": "images.generations",
        "/v1/images/edits": "images.edits",
        "/v1/images/upscale": "images.upscale",
        "/v1/audio/transcriptions": "audio.transcriptions",
        "/v1/audio/translations": "audio.translations",
        "/v1/audio/speech": "audio.speech",
        "/v1/videos/generations": "videos.generations",
    }
    for path in ("/chat/completions", "/completions", "/embeddings", "/rerank", "/responses"):
        assert endpoint(path) is endpoint(f"/v1{path}")
    for path in ("/v1/chat/completions/", "/v1/models", "/v1", "", "/V1/rerank"):
        assert endpoint(path) is None


def test_a_call_knows_its_task():
    """So that a chat model is never asked for vectors."""
    call = parse(ROUTES["/embeddings"], b'{"model":"m","input":"x"}')
    assert (call.model, call.task, call.endpoint) == ("m", "embed", "embeddings")


def test_paths_for_files_take_larger_bodies():
    """And no other."""
    assert {path for path in ROUTES if body_bytes_max(path) > body_bytes_max("/v1/embeddings")} == {
        "/v1/images/edits", "/v1/images/upscale", "/v1/audio/transcriptions", "/v1/audio/translations",
        "/v1/audio/speech", "/v1/videos/generations",
    }  # fmt: skip


def test_errors_are_worded_as_the_api_that_was_asked_words_them():
    """Anthropic's below its paths, with the request's id; OpenAI's everywhere else, unknown paths included."""
    told = json.loads(voice_of("/v1/messages", "req_1").body("stopping"))
    assert (told["type"], told["request_id"]) == ("error", "req_1")
    for path in ("/v1/chat/completions", "/v1/responses", "/nowhere"):
        assert json.loads(voice_of(path, "req_1").body("stopping"))["error"]["code"] == "stopping"
