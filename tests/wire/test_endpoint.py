"""The route table."""

from headrace.wire.endpoint import ROUTES, endpoint, parse


def test_paths_and_aliases():
    """With and without /v1; Cohere's form under /v2 alone; nothing else."""
    assert {path: route.name for path, route in ROUTES.items() if path.startswith("/v")} == {
        "/v1/chat/completions": "chat.completions",
        "/v1/completions": "completions",
        "/v1/embeddings": "embeddings",
        "/v1/rerank": "rerank",
        "/v2/rerank": "rerank.cohere",
    }
    for path in ("/chat/completions", "/completions", "/embeddings", "/rerank"):
        assert endpoint(path) is endpoint(f"/v1{path}")
    for path in ("/v1/chat/completions/", "/v1/models", "/v1", "", "/V1/rerank"):
        assert endpoint(path) is None


def test_a_call_knows_its_task():
    """So that a chat model is never asked for vectors."""
    call = parse(ROUTES["/embeddings"], b'{"model":"m","input":"x"}')
    assert (call.model, call.task, call.endpoint) == ("m", "embed", "embeddings")
