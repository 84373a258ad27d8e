"""Choices over real replicas, and JSON from a model that no engine holds to a schema, with OpenAI's own client."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import openai
import pydantic
import pytest

import headrace
from headrace.specs.load import load_text
from headrace.units import NANOUSD_PER_USD
from tests.conftest import ARTIFACTS, prepare
from tests.e2e.cloud import Cloud, running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
DEFAULT = Path(headrace.__file__).parent / "specs" / "default.yaml"
HI: Any = {"messages": [{"role": "user", "content": "Name an animal."}], "max_tokens": 8}


def spec(folder: Path, more: str = "") -> Path:
    """The default chat model with one slot in each of two replicas, and what else is given."""
    text = DEFAULT.read_text().split("\n  minilm:")[0]
    text = text.replace("slots: 8, context: 2048", "slots: 1, context: 2048").replace("threads: 2", "threads: 1")
    text = text.replace("max: 1, idle_to_zero: 5m", "max: 2, min: 2").replace(
        "min: 0, max: 2, min: 2", "min: 2, max: 2"
    )
    file = folder / "cloud.yaml"
    file.write_text(f"{text}\n{more}\ntenants: {{default: {{}}}}\n")
    return file


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("choices")
    for model in load_text(spec(folder).read_text(), machine=(8 << 30, 2)).models:
        prepare(model)
    with running(folder / "home", artifacts=ARTIFACTS, spec=spec(folder), gateways=1) as cloud:
        told = f"""  loose:
    task: chat
    engine:
      kind: openai
      url: "{cloud.url}"
      api_key: "file:{cloud.home}/credentials"
      upstream_model: smollm2
      slots: 4
      context: 2048
      args: {{json_schema: false, n: false}}
    price: {{input_tokens: 0.05, output_tokens: 0.40}}
"""
        cloud.run("apply", str(spec(folder, told)), "--yes")
        ready = lambda: sum(r["phase"] == "ready" for r in cloud.get("/headrace/v1/replicas")["replicas"]) >= 2  # noqa: E731
        cloud.until(ready, 300, "both replicas to be ready")
        cloud.until(lambda: both_asked(cloud), what="the gateway to know both")  # its table comes a moment later
        yield cloud


def both_asked(cloud: Cloud) -> bool:
    """Whether two choices at a time go to two replicas."""
    with openai.OpenAI(base_url=f"{cloud.url}/v1", api_key=cloud.key, max_retries=0) as client:
        raw = client.chat.completions.with_raw_response.create(model="smollm2", n=2, **HI)
    parts = explained(cloud, raw.headers["x-request-id"])["request"]["parts"]
    return len({part["replica"] for part in parts}) == 2


@pytest.fixture
def client(cloud: Cloud) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{cloud.url}/v1", api_key=cloud.key, max_retries=0, timeout=300) as client:
        yield client


def explained(cloud: Cloud, request: str) -> dict[str, Any]:
    return cloud.json("explain", request)


def test_choices_run_on_both_replicas(cloud: Cloud, client: openai.OpenAI):
    """Two at a time, one on each; one receipt, which says where each was."""
    raw = client.chat.completions.with_raw_response.create(model="smollm2", n=4, seed=11, temperature=1, **HI)
    answer = raw.parse()
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert len({choice.message.content for choice in answer.choices}) > 1
    found = explained(cloud, raw.headers["x-request-id"])
    row = found["request"]
    parts = row["parts"]
    assert len({part["replica"] for part in parts}) == 2
    assert max(part["start_us"] for part in parts[:2]) < min(part["end_us"] for part in parts[:2]), (
        "the first two were side by side"
    )
    alone = client.chat.completions.create(model="smollm2", seed=11, temperature=1, **HI)
    assert answer.usage.prompt_tokens == alone.usage.prompt_tokens
    assert answer.choices[0].message.content == alone.choices[0].message.content
    assert answer.usage.completion_tokens == row["output_tokens"] == sum(part["output_tokens"] for part in parts)
    charge = round(float(raw.headers["x-headrace-cost"]) * NANOUSD_PER_USD)
    assert (
        row["charge_nanousd"] == charge == -(-(50_000 * row["input_tokens"] + 400_000 * row["output_tokens"]) // 1000)
    )
    assert sum(line.startswith("part ") for line in found["text"]) == 4


def test_streams_of_choices_interleave(cloud: Cloud, client: openai.OpenAI):
    """Each chunk has its index, and one usage chunk counts them all."""
    texts, usage, order = {}, None, []
    long: Any = {"messages": [{"role": "user", "content": "Count from one to one hundred."}], "max_tokens": 96}
    options: Any = {"include_usage": True}
    with client.chat.completions.create(
        model="smollm2", n=2, seed=3, stream=True, stream_options=options, **long
    ) as chunks:
        for chunk in chunks:
            usage = chunk.usage or usage
            for choice in chunk.choices:
                order.append(choice.index)
                texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
    assert set(texts) == {0, 1}
    assert all(texts.values())
    assert order != sorted(order)
    assert usage is not None
    assert usage.completion_tokens >= 2


def test_what_the_parts_took_is_in_the_books(cloud: Cloud, client: openai.OpenAI):
    """Both replicas' time is booked to the one request, and the books balance."""
    raw = client.completions.with_raw_response.create(model="smollm2", prompt=["One", "Two"], n=2, max_tokens=6)
    assert [choice.index for choice in raw.parse().choices] == [0, 1, 2, 3]
    name = raw.headers["x-request-id"]
    booked = lambda: explained(cloud, name)["receipt"]["booked"] and explained(cloud, name)["receipt"]  # noqa: E731
    receipt = cloud.until(booked, 60, "its time to be booked")
    row = explained(cloud, name)["request"]
    assert len({part["replica"] for part in row["parts"]}) == 2
    assert receipt["device_us"] <= row["busy_us"]
    assert receipt["own_nanousd"] + receipt["shared_nanousd"] > 0
    assert cloud.json("cost", "verify")["ok"]


class Place(pydantic.BaseModel):
    city: str
    country: str


class Known(pydantic.BaseModel):
    """What a small model cannot ramble in."""

    city: Literal["Paris", "Berlin"]
    country: Literal["France", "Germany"]


SAID = "Paris is the capital of France."
ASKED: Any = {"messages": [{"role": "user", "content": SAID}], "temperature": 0, "max_tokens": 40}


@pytest.mark.parametrize(("model", "form", "tokens"), [("smollm2", Known, 96), ("loose", Place, 40)])
def test_strict_forms_parse(cloud: Cloud, client: openai.OpenAI, model: str, form: Any, tokens: int):
    """The engine is held to the schema, or told and checked: the client parses what it asked for."""
    asked = {**ASKED, "max_tokens": tokens}  # an engine that is held and not told puts each word on a line
    raw = client.chat.completions.with_raw_response.parse(model=model, response_format=form, **asked)
    place = raw.parse().choices[0].message.parsed
    assert isinstance(place, form)
    assert (place.city, place.country) == ("Paris", "France")
    parts = explained(cloud, raw.headers["x-request-id"])["request"].get("parts", [])
    assert bool(parts) == (model == "loose")


def test_responses_parse(cloud: Cloud, client: openai.OpenAI):
    """`text.format` of the Responses API on the model that nothing holds to it."""
    answer = client.responses.parse(model="loose", input=SAID, text_format=Place, temperature=0, max_output_tokens=40)
    assert isinstance(answer.output_parsed, Place)


def test_a_stream_of_checked_json_is_whole(cloud: Cloud, client: openai.OpenAI):
    """It begins when it holds, and comes in pieces like any stream."""
    form: Any = {"type": "json_schema", "json_schema": {"name": "place", "schema": Place.model_json_schema()}}
    with client.chat.completions.create(model="loose", response_format=form, stream=True, **ASKED) as chunks:
        pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert len(pieces) > 2
    assert Place.model_validate(json.loads("".join(pieces))).city == "Paris"


class Never(pydantic.BaseModel):
    x: Annotated[str, pydantic.Field(pattern="^qzx{40}$")]


def test_a_form_that_cannot_be_kept_is_an_honest_error(cloud: Cloud, client: openai.OpenAI):
    """Nothing that does not hold is passed on: there is no charge, or the answer says that its limit cut it."""
    with pytest.raises((openai.InternalServerError, openai.LengthFinishReasonError)) as failed:
        client.chat.completions.parse(model="loose", response_format=Never, **{**ASKED, "max_tokens": 24})
    if isinstance(failed.value, openai.InternalServerError):
        assert failed.value.code == "schema_not_met"
        row = explained(cloud, failed.value.response.headers["x-request-id"])["request"]
        assert (row["charge_nanousd"], len(row["parts"])) == (0, 3)


def test_schemas_that_would_never_end_are_refused(client: openai.OpenAI):
    """Before anything is paid, on every engine."""
    for schema in (
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
        {"$defs": {f"a{i}": {"anyOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(20)}, "$ref": "#/$defs/a0"},
        {"$ref": "#/$defs/none"},
    ):
        form: Any = {"type": "json_schema", "json_schema": {"name": "bomb", "schema": schema}}
        for model in ("smollm2", "loose"):
            with pytest.raises(openai.BadRequestError) as refused:
                client.chat.completions.create(model=model, response_format=form, **HI)
            assert refused.value.param == "response_format.json_schema.schema"
