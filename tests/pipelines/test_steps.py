"""Steps of YAML beyond one call of text: variants and the best of them, results of other runs, pictures and sound."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import Invalid
from headrace.pipelines import artifacts
from headrace.pipelines.context import World
from headrace.pipelines.runner import Runner, Wanted
from headrace.state.run import Run
from tests.pipelines.world import Journal, Memory, Model, world

PNG = b"\x89PNG\r\n\x1a\n" + b"p" * 100
WAV = b"RIFF\0\0\0\0WAVEfmt " + b"w" * 100


def ended(text: str, ports: World, tmp_path: Path, tenant: str = "t", **inputs: Any) -> Run:
    async def life() -> Run:
        runner = Runner(ports, tmp_path)
        given = await artifacts.given(ports.objects.of("t", "run_1"), inputs)
        return await runner.ended(await runner.start(tenant, "k", Wanted(text=text, inputs=given)))

    return asyncio.run(life())


def output(run: Run) -> Any:
    assert run.ended is not None
    assert run.phase == "finished", run.ended
    return run.ended.output


def score(body: dict[str, Any]) -> dict[str, Any]:
    """A writer whose answers name their seed, and a judge that likes the third best."""
    if "response_format" in body:
        seed = body["messages"][-1]["content"][-1]
        return {"message": {"content": f'{{"score": {90 if seed == "2" else 10}}}'}}
    return {"message": {"content": f"seed {body.get('seed')}"}}


def test_variants_are_asked_for_side_by_side_each_with_its_seed(tmp_path: Path):
    text = "name: p\nsteps: {a: {chat: m, prompt: hi, n: 3, seed: 5}}\noutput: '{{ a }}'\n"
    model = Model(say=score)
    assert output(ended(text, world(Journal(), model), tmp_path)) == ["seed 5", "seed 6", "seed 7"]
    assert model.most_at_work == 3


def test_a_judge_chooses_the_best_of_several_and_the_scores_are_told(tmp_path: Path):
    text = "name: p\nsteps: {a: {chat: m, prompt: hi, n: 4, seed: 0, best: {chat: m, prompt: 'Rate {{ result }}'}}}\noutput: '{{ a }}'\n"
    run = ended(text, world(Journal(), model := Model(say=score)), tmp_path)
    assert output(run) == "seed 2"
    assert run.chosen[-1].why == "number 2 of 4 is the best, scores: 10, 10, 90, 10"
    assert run.spent_nanousd == model.charged == 8 * 7
    assert {stage: one.calls for stage, one in run.stages.items()} == {"a": 8}


def test_a_reranker_chooses_the_best_of_several(tmp_path: Path):
    class Ranking(Model):
        async def send(self, key: str, path: str, body: dict[str, Any], **more: Any) -> Any:
            if path != "/v1/rerank":
                return await super().send(key, path, body, **more)
            assert body["query"] == "which?"
            found = await super().send(key, path, {"messages": [{"content": "x"}]}, **more)
            found.body.clear()
            found.body["results"] = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]
            return found

    text = "name: p\nsteps: {a: {each: [x, y], chat: m, prompt: '{{ item }}', best: {rerank: r, query: which?}}}\noutput: '{{ a }}'\n"
    assert output(ended(text, world(Journal(), Ranking()), tmp_path)) == "y:1"


def test_a_cached_step_is_asked_once_a_tenant_and_again_when_it_is_old(tmp_path: Path):
    text = "name: p\ninput: {w: null}\nsteps: {a: {chat: m, prompt: '{{ w }}', cache: 10s}}\noutput: '{{ a }}'\n"
    journal, model = Journal(), Model()
    ports = world(journal, model)
    first = ended(text, ports, tmp_path, w="x")
    again = ended(text, ports, tmp_path, w="x")
    assert output(first) == output(again) == "x:1"
    assert (again.spent_nanousd, model.charged) == (0, 7)
    assert f"not asked: {first.started.run}" in again.chosen[0].why
    assert ended(text, ports, tmp_path, w="y").spent_nanousd == 7
    assert ended(text, ports, tmp_path, "u", w="x").spent_nanousd == 7
    ports.clock.at += 10_000_001  # type: ignore[attr-defined] # the hand of a test
    assert ended(text, ports, tmp_path, w="x").spent_nanousd == 7


class Studio(Model):
    """Draws, enlarges, hears and speaks: what it is sent must hold the bytes, what it answers has them too."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[str, dict[str, Any]]] = []

    async def send(self, key: str, path: str, body: dict[str, Any], **more: Any) -> Any:
        self.sent.append((path, body))
        found = await super().send(key, path, {"messages": [{"content": "x"}]}, **more)
        made: Any = {"data": [{"b64_json": base64.b64encode(PNG + str(body.get("seed", "")).encode()).decode()}]}
        if "audio" in path:
            heard = {
                "text": "hello",
                "language": "en",
                "duration": 1.5,
                "segments": [{"start": 0, "end": 1, "text": "hello", "id": 0}],
            }
            made = WAV if "speech" in path else heard
        if "chat" in path:
            best = base64.b64encode(PNG + b"2").decode() in str(body)
            content = f'{{"score": {90 if best else 10}}}' if "response_format" in body else "a cat"
            made = {"choices": [{"message": {"content": content}}]}
        return found.__class__(status=200, body=made, charge_nanousd=7, request=found.request)


POSTER = """
name: poster
steps:
  draw: {image: painter, prompt: a cat, n: 2, seed: 1, size: 64x64}
  seen: {each: "{{ draw }}", chat: eyes, prompt: What is it?, images: "{{ item }}"}
  large: {upscale: big, images: "{{ draw[0] }}", scale: 2}
output: {large: "{{ large }}", seen: "{{ seen }}", drawn: "{{ draw }}"}
"""
NOTES = """
name: notes
input: {audio: null}
steps:
  heard: {transcribe: ears, audio: "{{ audio }}", language: en}
  spoken: {speak: mouth, text: "{{ heard.text }}", voice: anna}
output: {text: "{{ heard.text }}", spoken: "{{ spoken }}"}
"""


def test_pictures_pass_between_steps_as_mentions_and_to_models_as_bytes(tmp_path: Path):
    journal, studio = Journal(), Studio()
    ports = world(journal, studio)
    run = ended(POSTER, ports, tmp_path)
    made = output(run)
    assert made["large"] == {"artifact": made["large"]["artifact"], "type": "image/png", "bytes": 108}
    assert asyncio.run(artifacts.load(ports.objects.of("t", "run_1"), made["drawn"][1])) == PNG + b"2"
    paths = [path for path, _ in studio.sent]
    assert sorted(paths) == ["/v1/chat/completions"] * 2 + ["/v1/images/generations"] * 2 + ["/v1/images/upscale"]
    (_, large) = next(one for one in studio.sent if one[0].endswith("upscale"))
    assert large == {
        "model": "big",
        "image": "data:image/png;base64," + base64.b64encode(PNG + b"1").decode(),
        "scale": 2,
    }
    seen = [body["messages"][0]["content"][1]["image_url"]["url"] for path, body in studio.sent if "chat" in path]
    assert sorted(seen) == sorted(
        "data:image/png;base64," + base64.b64encode(PNG + seed).decode() for seed in (b"1", b"2")
    )
    assert not any(
        b"b64_json" in event or base64.b64encode(PNG)[:40] in event for event in journal.events(run.started.run)
    )


def test_a_judge_that_sees_chooses_the_best_picture(tmp_path: Path):
    text = "name: p\nsteps: {a: {image: painter, prompt: a cat, n: 3, seed: 1, best: {chat: eyes, prompt: Rate it}}}\noutput: '{{ a }}'\n"
    ports = world(Journal(), Studio())
    assert (
        asyncio.run(artifacts.load(ports.objects.of("t", "run_1"), output(ended(text, ports, tmp_path)))) == PNG + b"2"
    )


def test_a_recording_is_an_input_and_a_voice_an_output(tmp_path: Path):
    studio = Studio()
    ports = world(Journal(), studio)
    run = ended(NOTES, ports, tmp_path, audio={"base64": base64.b64encode(WAV).decode()})
    made = output(run)
    assert made["text"] == "hello"
    assert asyncio.run(artifacts.load(ports.objects.of("t", "run_1"), made["spoken"])) == WAV
    (_, form), (_, speech) = studio.sent
    assert (form["file"].data, form["file"].type, form["language"]) == (WAV, "audio/wav", "en")
    assert speech == {"model": "mouth", "input": "hello", "voice": "anna", "response_format": "wav"}


def test_a_client_cannot_name_an_object_and_what_is_no_file_is_refused_by_name(tmp_path: Path):
    mention = {"artifact": artifacts.MARK + "0" * 64, "type": "audio/wav", "bytes": 1}
    for value, said in (
        (mention, "send the file itself"),
        ({"base64": "?"}, "base64"),
        ([{"x": mention}], "send the file"),
    ):
        with pytest.raises(Invalid, match=said):
            asyncio.run(artifacts.given(Memory(), {"audio": value}))
    run = ended(NOTES, world(Journal(), Studio()), tmp_path, audio="hello")
    assert run.ended is not None
    assert "step heard: `audio` needs audio/ files" in run.ended.error


def test_a_value_that_looks_like_a_place_where_objects_are_kept_stays_what_it_is(tmp_path: Path):
    """Else who knows a digest could read what is kept under it."""
    text = "name: p\ninput: {w: null}\nsteps: {a: {value: '{{ w }}'}}\noutput: '{{ a }}'\n"
    journal = Journal()
    ports = world(journal, Model())
    run = ended(text, ports, tmp_path, w={"$object": "0"})
    assert output(run) == {"$object": "0"}
    assert asyncio.run(artifacts.whole(ports.objects.of("t", "run_1"), run.results[run.steps[0][1]])) == {
        "$object": "0"
    }


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("{chat: m, prompt: x, n: 2, each: [1]}", "`each` or `n`, not both"),
        ("{chat: m, prompt: x, best: {rerank: m, query: q}}", "choose among variants"),
        ("{chat: m, prompt: x, n: 2, best: {rerank: m}}", "one of the two pairs"),
        ("{chat: m, prompt: x, n: 2, enough: 'true', best: {rerank: m, query: q}}", "give one of them"),
        ("{chat: m, prompt: x, cache: never}", "cache"),
        ("{agent: m, prompt: x, cache: 1d}", "agent is not cached"),
        ("{embed: m, texts: [a], n: 2}", "`n` belongs to chat and edit and image"),
        ("{speak: m}", "speak needs `text`"),
        ("{transcribe: m, audio: '{{ nothing }}'}", "there is no 'nothing'"),
    ],
)
def test_what_does_not_belong_together_is_refused_before_it_begins(tmp_path: Path, step: str, said: str):
    async def start() -> None:
        text = f"name: p\nsteps: {{a: {step}}}\noutput: ''\n"
        await Runner(world(Journal(), Model()), tmp_path).start("t", "k", Wanted(text=text))

    with pytest.raises(Invalid, match=said):
        asyncio.run(start())
