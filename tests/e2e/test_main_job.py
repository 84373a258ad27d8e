"""The main job, as its users do it: real models through the real command line and real clients."""

import asyncio
import base64
import json
import struct
import threading
import urllib.error

import cohere
import openai
import pytest

from tests.e2e.cloud import Cloud

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture
def client(cloud: Cloud):
    with openai.OpenAI(base_url=f"{cloud.url}/v1", api_key=cloud.key, max_retries=0) as client:
        yield client


def test_a_real_model_answers(client):
    """The default chat model knows the capital of France, and its usage adds up."""
    answer = client.chat.completions.create(
        model="smollm2",
        messages=[{"role": "user", "content": "What is the capital of France?"}],
        max_tokens=24,
        temperature=0,
    )
    assert "Paris" in answer.choices[0].message.content
    assert answer.model == "smollm2"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_has_one_id_a_role_an_end_and_usage_when_asked(client):
    """Chunks as OpenAI defines them: same id in all, role first, finish_reason last, then the usage chunk."""
    stream = client.chat.completions.create(
        model="smollm2",
        messages=[{"role": "user", "content": "Count to five."}],
        max_tokens=16,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens > 0
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] in (
        ["length"],
        ["stop"],
    )


def test_a_stream_without_the_option_carries_no_usage(client):
    """Usage is metered always and shown only to those who asked."""
    stream = client.chat.completions.create(
        model="smollm2", messages=[{"role": "user", "content": "Hi"}], max_tokens=4, stream=True
    )
    assert [chunk.usage for chunk in stream if chunk.usage] == []


def test_the_async_client_streams_side_by_side(cloud):
    """Eight streams at once all end well."""

    async def one(client: openai.AsyncOpenAI) -> str:
        stream = await client.chat.completions.create(
            model="smollm2", messages=[{"role": "user", "content": "Name a colour."}], max_tokens=8, stream=True
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])

    async def all_of_them() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{cloud.url}/v1", api_key=cloud.key, max_retries=0) as client:
            return await asyncio.gather(*(one(client) for _ in range(8)))

    assert all(asyncio.run(all_of_them()))


def test_json_schema_output_is_an_object_of_that_schema(client):
    """`response_format` of type json_schema is enforced by the engine."""
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model="smollm2",
        messages=[{"role": "user", "content": "Anna is 31 years old. Give name and age."}],
        response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": schema, "strict": True}},
        max_tokens=64,
        temperature=0,
    )
    person = json.loads(answer.choices[0].message.content)
    assert sorted(person) == ["age", "name"]
    assert isinstance(person["age"], int)


@pytest.mark.parametrize("stream", [False, True])
def test_a_required_tool_is_called(client, stream):
    """`tool_choice: required` gives a tool call whose arguments are JSON of the tool's schema, streamed or not."""
    answer = client.chat.completions.create(
        model="smollm2",
        messages=[{"role": "user", "content": "What is the weather in Paris?"}],
        tools=[WEATHER],
        tool_choice="required",
        max_tokens=64,
        temperature=0,
        stream=stream,
    )
    if stream:
        calls = [c.choices[0].delta.tool_calls for c in answer if c.choices and c.choices[0].delta.tool_calls]
        name = next(part[0].function.name for part in calls if part[0].function.name)
        arguments = "".join(part[0].function.arguments or "" for part in calls)
    else:
        assert answer.choices[0].finish_reason == "tool_calls"
        (call,) = answer.choices[0].message.tool_calls
        name, arguments = call.function.name, call.function.arguments
    assert name == "get_weather"
    assert isinstance(json.loads(arguments)["city"], str)


def test_n_gives_n_choices_and_logprobs_are_given(client):
    """`n` and `logprobs` work on the default model."""
    answer = client.chat.completions.create(
        model="smollm2", messages=[{"role": "user", "content": "Hi"}], n=2, max_tokens=4, logprobs=True, top_logprobs=2
    )
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert len(answer.choices[0].logprobs.content[0].top_logprobs) == 2


def test_completions_complete(client):
    """The older completions API is served too."""
    answer = client.completions.create(model="smollm2", prompt="The capital of France is", max_tokens=8, temperature=0)
    assert answer.choices[0].text.strip()
    assert answer.usage.completion_tokens == 8


def test_embeddings_mean_something_and_both_encodings_agree(client, cloud):
    """A kitten is nearer to a cat than the stock market is; base64 and float carry the same numbers."""
    texts = ["A cat sits on the mat.", "A kitten rests on a rug.", "Stock markets fell today."]
    cat, kitten, stocks = (item.embedding for item in client.embeddings.create(model="minilm", input=texts).data)
    dot = lambda a, b: sum(x * y for x, y in zip(a, b, strict=True))  # noqa: E731 - two lines of algebra
    assert dot(cat, kitten) > 0.5 > dot(cat, stocks)
    plain = cloud.post("/v1/embeddings", {"model": "minilm", "input": texts[0], "encoding_format": "float"})
    coded = cloud.post("/v1/embeddings", {"model": "minilm", "input": texts[0], "encoding_format": "base64"})
    raw = base64.b64decode(coded["data"][0]["embedding"])
    assert plain["data"][0]["embedding"] == pytest.approx(struct.unpack(f"<{len(raw) // 4}f", raw), abs=1e-6)


def test_cohere_reranks(cloud):
    """Cohere's own client ranks the right document first."""
    documents = ["Bananas are rich in potassium.", "Paris is the capital of France.", "Berlin is in Germany."]
    query = "What is the capital of France?"
    with cohere.ClientV2(api_key=cloud.key, base_url=cloud.url) as client:
        answer = client.rerank(model="minilm-rerank", query=query, documents=documents, top_n=2)
    assert answer.results[0].index == 1
    assert len(answer.results) == 2


def test_jina_form_of_rerank_returns_documents(cloud):
    """`/v1/rerank` gives usage and the documents when asked."""
    body = {"model": "minilm-rerank", "query": "fruit", "documents": ["a car", "a banana"], "return_documents": True}
    answer = cloud.post("/v1/rerank", body)
    assert answer["results"][0]["document"]["text"] == "a banana"
    assert answer["usage"]["total_tokens"] > 0


def test_errors_have_openais_classes(client, cloud):
    """A client's own exception classes: wrong key, unknown model, bad value, unsupported parameter."""
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="smolm2", messages=[{"role": "user", "content": "Hi"}])
    assert unknown.value.code == "model_not_found"
    assert "smollm2" in unknown.value.message
    with pytest.raises(openai.BadRequestError) as huge:
        client.chat.completions.create(model="smollm2", messages=[{"role": "user", "content": "Hi"}], n=10**9)
    assert huge.value.param == "n"
    stranger = openai.OpenAI(base_url=f"{cloud.url}/v1", api_key="hr-aaaaaaaaaaaa-" + "x" * 43, max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError):
        stranger.models.list()


def test_models_lists_the_default_models(client):
    """The models have the names the README promises."""
    assert {model.id for model in client.models.list()} >= {"smollm2", "minilm", "minilm-rerank"}


def test_run_streams_and_closes_with_one_line(cloud):
    """`headrace run` prints the answer, then tokens, seconds, first token and replica."""
    done = cloud.run("run", "smollm2", "What is the capital of France?")
    assert "Paris" in done.stdout
    (line,) = [line for line in done.stderr.splitlines() if "tokens" in line]
    assert "first" in line
    assert "smollm2-v1" in line


def test_explain_last_tells_the_route_and_the_wait(cloud):
    """`headrace explain last` names the replica, the tokens and the outcome of the request just made."""
    answer = cloud.chat()
    told = cloud.json("explain", "last")
    assert told["request"]["output_tokens"] == answer["usage"]["completion_tokens"]
    assert told["request"]["outcome"] == "finished"
    assert told["request"]["replica"].startswith("smollm2-v1")


def put_to_sleep(cloud, model: str) -> None:
    """Stop its replicas, again as long as one is there: a gateway's last report may still speak of an earlier request."""

    def asleep() -> bool:
        mine = [r["id"] for r in cloud.get("/headrace/v1/replicas")["replicas"] if r["model"] == model]
        for name in mine:
            cloud.post(f"/headrace/v1/replicas/{name}/stop", {})
        return not mine

    cloud.until(asleep, what=f"{model} to sleep")


def test_a_request_for_a_sleeping_model_wakes_it_and_200_lose_nothing(cloud):
    """200 requests that meet a sleeping model are all answered, and the model is loaded once."""
    cloud.post("/v1/embeddings", {"model": "minilm", "input": "x"})
    put_to_sleep(cloud, "minilm")
    before = len([lease for lease in cloud.get("/headrace/v1/leases")["leases"] if lease["model"] == "minilm"])
    outcomes: list[int] = []

    def ask(number: int) -> None:
        try:
            answer = cloud.post("/v1/embeddings", {"model": "minilm", "input": f"text {number}"})
            outcomes.append(len(answer["data"]))
        except urllib.error.HTTPError as error:
            outcomes.append(-error.code)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [1] * 200
    after = len([lease for lease in cloud.get("/headrace/v1/leases")["leases"] if lease["model"] == "minilm"])
    assert after - before == 1


def test_a_held_stream_hears_comments_while_the_model_wakes(cloud):
    """A stream that waits for a cold model gets SSE comments, then its answer."""
    import http.client

    put_to_sleep(cloud, "smollm2")
    line = http.client.HTTPConnection("127.0.0.1", cloud.port, timeout=60)
    body = {"model": "smollm2", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, "stream": True}
    line.request("POST", "/v1/chat/completions", json.dumps(body), {"Authorization": f"Bearer {cloud.key}"})
    text = line.getresponse().read().decode()
    line.close()
    assert text.rstrip().endswith("data: [DONE]")
    events = [event for event in text.split("\n\n") if event]
    assert all(event.startswith(("data: ", ":")) for event in events)


def test_a_revoked_key_is_refused_within_a_second(cloud):
    """Revoking takes effect at once, on every gateway."""
    made = cloud.json("key", "create", "--name", "short-lived")
    assert cloud.get("/v1/models", key=made["key"])["object"] == "list"
    cloud.run("key", "revoke", made["id"])

    def refused() -> bool:
        try:
            cloud.get("/v1/models", key=made["key"])
        except urllib.error.HTTPError as error:
            return error.code == 401
        return False

    cloud.until(lambda: all(refused() for _ in range(8)), seconds=1, what="the key to be refused by every gateway")


def test_limits_are_truthful(cloud):
    """The third request of a minute under a limit of two is refused with the time to wait."""
    key = cloud.json("key", "create", "--name", "slow", "--requests-per-minute", "2")["key"]
    for _ in range(2):
        cloud.post("/v1/embeddings", {"model": "minilm", "input": "x"}, key=key)
    with pytest.raises(urllib.error.HTTPError) as refused:
        cloud.post("/v1/embeddings", {"model": "minilm", "input": "x"}, key=key)
    assert refused.value.code == 429
    assert 1 <= int(refused.value.headers["Retry-After"]) <= 60
