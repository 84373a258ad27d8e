"""Commands that ask a model: run, chat, embed, rerank, bench."""

import json

import pytest

from tests.sdk.server import DONE, USAGE, Answer, chunk

STREAM = [b": waking\n\n", chunk("Pa"), chunk("ris"), USAGE, DONE]
HEADERS = {"x-request-id": "req_1", "x-headrace-replica": "m-v1-1"}


@pytest.fixture
def chat(cloud):
    cloud.answers["POST /v1/chat/completions"] = Answer(STREAM, headers=HEADERS)
    return cloud


def test_run_prints_the_answer_and_closes_with_one_line(cli, chat):
    """The answer on standard output, the figures on standard error."""
    done = cli("run", "m", "Capital of France?")
    assert (done.status, done.out) == (0, "Paris\n")
    (line,) = done.err.splitlines()
    assert line.startswith("─ 2 tokens · ")
    assert line.endswith("replica m-v1-1   explain: headrace explain req_1")
    assert chat.heard[0].json["messages"] == [{"role": "user", "content": "Capital of France?"}]


def test_run_reads_the_prompt_from_standard_input(cli, chat):
    """When none is given; an empty one is a usage error and asks nobody."""
    assert cli("run", "m", stdin="piped in").out == "Paris\n"
    assert chat.heard[0].json["messages"][0]["content"] == "piped in"
    assert cli("run", "m", stdin=" \n").status == 2
    assert len(chat.heard) == 1


def test_run_as_json_is_one_object(cli, chat):
    """Nothing else on standard output, nothing on standard error."""
    done = cli("run", "m", "hi", "--json", "--max-tokens", "5")
    assert (done.json["text"], done.json["output_tokens"], done.json["replica"]) == ("Paris", 2, "m-v1-1")
    assert done.err == ""
    assert chat.heard[0].json["max_tokens"] == 5


def test_the_replica_of_a_held_stream_is_asked_for(cli, cloud):
    """Its headers were sent before one was chosen. Where it cannot be told, the answer stands all the same."""
    cloud.answers["POST /v1/chat/completions"] = Answer(STREAM, headers={"x-request-id": "req_1"})
    assert cli("run", "m", "hi", "--json").json["replica"] == "unknown"
    cloud.answers["GET /headrace/v1/explain/req_1"] = Answer({"request": {"replica": "m-v1-9"}})
    assert cli("run", "m", "hi", "--json").json["replica"] == "m-v1-9"


def test_a_stream_that_breaks_is_a_failure(cli, cloud):
    """What came is shown; the status is not 0."""
    error = {
        "error": {"message": "the replica was lost", "type": "server_error", "param": None, "code": "replica_lost"}
    }
    cloud.answers["POST /v1/chat/completions"] = Answer([chunk("Pa"), b"data: " + json.dumps(error).encode() + b"\n\n"])
    done = cli("run", "m", "hi")
    assert done.status == 1
    assert done.out.startswith("Pa")
    assert "the replica was lost" in done.err


def test_chat_remembers_until_new(cli, chat):
    """What was said goes along; /new forgets it; /quit ends."""
    chat.answers["GET /headrace/v1/models"] = Answer({"models": [{"name": "m"}]})
    done = cli("chat", "m", "--json", stdin="one\ntwo\n/new\nthree\n/quit\n")
    assert done.status == 0
    assert [json.loads(line)["text"] for line in done.out.splitlines()] == ["Paris"] * 3
    asked = [heard.json["messages"] for heard in chat.heard if heard.method == "POST"]
    assert [len(messages) for messages in asked] == [1, 3, 1]


def test_chat_with_an_unknown_model_lists_those_there_are(cli, cloud):
    """Exit 4."""
    cloud.answers["GET /headrace/v1/models"] = Answer({"models": [{"name": "smollm2"}]})
    done = cli("chat", "smol")
    assert done.status == 4
    assert "smollm2" in done.err


def test_embed_shows_each_vector(cli, cloud):
    """A line a text; --json is the API's answer."""
    found = {"data": [{"embedding": [0.5, -0.5]}, {"embedding": [0.0, 1.0]}], "usage": {"prompt_tokens": 6}}
    cloud.answers["POST /v1/embeddings"] = Answer(found)
    assert cli("embed", "e", "a cat", "a dog").out.splitlines() == [
        "[+0.5000, -0.5000, …] 2 dimensions · a cat",
        "[+0.0000, +1.0000, …] 2 dimensions · a dog",
        "─ 6 tokens",
    ]
    assert cli("embed", "e", "--json", stdin="a cat\n\na dog\n").json == found
    assert cloud.heard[1].json["input"] == ["a cat", "a dog"]
    assert cli("embed", "e").status == 2


def test_rerank_orders_documents(cli, cloud):
    """Best first, as the server says."""
    found = {"results": [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]}
    cloud.answers["POST /v1/rerank"] = Answer(found)
    assert cli("rerank", "r", "fruit", "a car", "a fig").out.splitlines() == ["+0.900  a fig", "+0.100  a car"]


def test_bench_counts_tokens_and_failures(cli, chat):
    """Every request is counted once; with failures the status is 1."""
    done = cli("bench", "m", "-n", "6", "-c", "3", "--json")
    assert done.status == 0
    assert (done.json["requests"], done.json["errors"]) == (6, 0)
    assert done.json["tokens_per_second"] > 0
    assert cli("bench", "m", "-n", "0").status == 2
