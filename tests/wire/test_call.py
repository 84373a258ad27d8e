"""What the gateway reads of any request, and its own count where there is none to believe."""

from headrace.wire.usage import Counts
from tests.wire.bodies import chat, read


def test_the_gateway_counts_what_it_sent_on():
    """Pieces of a stream without its roles and ends, or bytes of a whole answer; never above the limit."""
    call = chat(n=2, max_tokens=10)
    assert call.guess(pieces=14) == Counts(input_tokens=call.input_tokens, output_tokens=10)
    assert call.guess(pieces=500).output_tokens == 20
    assert call.guess(output_bytes=40).output_tokens == 10
    assert read("/v1/embeddings", input=["a", "b"]).guess(output_bytes=9000) == Counts(input_tokens=4, items=2)


def test_a_call_makes_the_meter_of_its_stream():
    """Which knows the client's name for the model, and whether usage was asked for."""
    meter = chat(stream=True, stream_options={"include_usage": True}).meter("vllm")
    chunk = b'{"id":"x","object":"chat.completion.chunk","created":1,"model":"up","choices":[{"index":0,"delta":{}}]}'
    out = meter.feed(b"data: " + chunk + b"\n\n")
    assert b'"model":"m"' in out
    assert b'"usage":{"prompt_tokens":1' in meter.tail(Counts(input_tokens=1))
