"""Speech to text through the real replica: what is said is heard, what cannot be is refused by name, who leaves frees."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest

from headrace.engines import golden, sources, whisper
from headrace.engines.runners.recording import Samples
from headrace.engines.whisper import Whisper
from headrace.errors import Permanent
from headrace.ports import Artifact
from headrace.specs.catalog import ModelSpec
from headrace.wire.transcripts import Segment, subtitles
from tests.conftest import MODELS, WHISPER
from tests.engines.runners import sounds

MODEL = MODELS["whisper"]
PATH = "/v1/audio/transcriptions"
STORY = (
    "Good morning, how are you today?",
    "My brother is going to the market on Monday.",
    "Please open the window and close the door.",
    "The train to London will leave at ten o'clock.",
    "She has seven brothers and two sisters.",
    "We have been living in this city for twenty years.",
    "The children are playing football in the garden.",
    "I would like to have a cup of coffee and a sandwich.",
    "There are many books on the table in the kitchen.",
    "He asked me a question, and I gave him an answer.",
    "In the evening we are going to see a film.",
    "It was raining in the morning, but now the sun is shining.",
    "The first house on the left side of the street is ours.",
    "Thank you very much for your attention.",
)


@pytest.fixture(scope="module")
def replica(prepared: Callable[[str], tuple[ModelSpec, Artifact]]) -> Iterator[httpx.Client]:
    model, artifact = prepared("whisper")
    with golden.running(Whisper(), model, artifact) as (address, _):
        transport = httpx.HTTPTransport(uds=address.removeprefix("unix:"))
        with httpx.Client(transport=transport, base_url="http://engine", timeout=100) as client:
            yield client


def body(data: bytes, **more: Any) -> dict[str, Any]:
    return {"model": "whisper", "file": base64.b64encode(data).decode(), **more}


@pytest.mark.parametrize("form", ["wav", "opus"])
def test_a_sentence_comes_back(replica: httpx.Client, form: str) -> None:
    """Spoken by espeak-ng, encoded, heard by Whisper; its length is told, and subtitles can be made."""
    answer = replica.post(PATH, json=body(sounds.speech(form=form))).json()
    assert {"quick", "brown", "fox", "good", "morning", "today"} < {
        word.strip(" .,?!") for word in answer["text"].lower().split()
    }
    assert answer["duration"] == pytest.approx(4.587, abs=0.1)
    assert (answer["task"], answer["language"]) == ("transcribe", "en")
    assert "".join(segment["text"] for segment in answer["segments"]).strip() == answer["text"]
    segments = msgspec.convert(answer["segments"], list[Segment])
    assert all(0 <= segment.start < segment.end <= answer["duration"] for segment in segments)
    assert subtitles(segments).startswith("1\n00:00:0")
    assert "words" not in answer


def test_words_are_told_when_they_are_wanted(replica: httpx.Client) -> None:
    """With a hint and a temperature of one's own."""
    answer = replica.post(PATH, json=body(sounds.speech(), words=True, temperature=0.0, prompt="Animals.")).json()
    assert [word["word"].lower() for word in answer["words"]][1:4] == ["quick", "brown", "fox"]


def test_a_recording_of_several_windows_is_heard_to_its_end(replica: httpx.Client) -> None:
    """More than thirty seconds: the last sentence is there, at its time."""
    answer = replica.post(PATH, json=body(sounds.speech(" ".join(STORY), "opus"))).json()
    assert 33 < answer["duration"] < 60
    text = answer["text"].lower()
    places = [text.find(word) for word in ("good morning", "market", "thank you")]
    assert -1 not in places
    assert places == sorted(places)
    assert answer["segments"][-1]["end"] > answer["duration"] - 3
    starts = [segment["start"] for segment in answer["segments"]]
    assert starts == sorted(starts)


def test_what_is_said_is_told_while_it_is_heard(replica: httpx.Client) -> None:
    """The first window's words leave before the last one has been heard, each with how far that is."""
    data, came = body(sounds.speech(" ".join(STORY), "opus"), stream=True), []
    with replica.stream("POST", PATH, json=data) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        for line in answer.iter_lines():
            if line:
                came.append(json.loads(line.removeprefix("data: ")))
                if len(came) == 1:
                    assert replica.get("/load").json()["running"] == 1
    *deltas, done = came
    assert (done["type"], 33 < done["duration"] < 60) == ("transcript.text.done", True)
    assert "".join(each["delta"] for each in deltas).strip() == done["text"]
    heard = [each["milliseconds"] for each in deltas]
    assert heard == sorted(heard)
    assert heard[0] < 15_000 < heard[-1] <= 1_000 * done["duration"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"language": "de"}, "language 'de' is not known to this model; give en"),
        ({"translate": True}, "does not translate"),
        ({"temperature": 1.5}, "temperature"),
        ({"seconds_max": 2}, "longer than 2 s"),
        ({"file": "*"}, "base64"),
        ({"file": base64.b64encode(b"no sound at all").decode()}, "send wav, mp3, ogg"),
    ],
)
def test_what_cannot_be_is_refused_by_name(replica: httpx.Client, more: dict[str, Any], words: str) -> None:
    """400, and the replica lives."""
    refused = replica.post(PATH, json=body(sounds.speech()) | more)
    assert refused.status_code == 400
    assert words in refused.json()["error"]["message"]
    assert replica.get("/load").json() == {"running": 0, "waiting": 0, "slots": 8}


def test_who_leaves_frees_the_slot(replica: httpx.Client) -> None:
    """Minutes of speech are begun, told of in the progress, and given up when the client goes."""
    with pytest.raises(httpx.ReadTimeout):
        replica.post(PATH, json=body(_repeated(60)), timeout=httpx.Timeout(60, read=0.2))
    end = time.monotonic() + 60
    while replica.get("/load").json()["running"]:
        assert time.monotonic() < end, "the slot is still taken"
    assert replica.get("/progress").json() == {"running": []}


def test_silence_is_no_speech(replica: httpx.Client) -> None:
    """Twenty seconds of it: nothing is made up, and the length is told."""
    silence = sounds.file("flac", "flac", np.zeros(20 * 16_000, np.int16), 16_000)
    answer = replica.post(PATH, json=body(silence)).json()
    assert answer["duration"] == 20
    assert len(answer["text"].split()) <= 2


def test_english_weights_say_so(tmp_path: Path) -> None:
    """Their ability names the one language; weights that are not here leave it open."""
    media = Whisper().ability(MODEL).media
    assert media is not None
    assert (media.languages, media.translates, media.words, media.audio_s_max) == (("en",), False, True, 3_600)
    unknown = Whisper().ability(msgspec.structs.replace(MODEL, source="hf://org/repo")).media
    assert unknown is not None
    assert (unknown.languages, unknown.translates) == ((), True)


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "vocabulary.txt", "model.bin"])
def test_a_folder_that_is_not_whole_is_told(tmp_path: Path, missing: str) -> None:
    """With the file that is missing and how such a folder is made."""
    folder = sources.local(WHISPER)
    assert folder is not None
    for file in folder.iterdir():
        if file.name != missing:
            (tmp_path / file.name).symlink_to(file)
    with pytest.raises(Permanent, match=rf"no {missing}.*ct2-transformers-converter"):
        Whisper().prepare(msgspec.structs.replace(MODEL, source=str(tmp_path)), tmp_path / "a", print)


def test_another_model_of_ctranslate2_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A translator is no Whisper."""
    folder = sources.local(WHISPER)
    assert folder is not None
    for file in folder.iterdir():
        if file.name != "model.bin":
            (tmp_path / file.name).symlink_to(file)
    weights = (folder / "model.bin").read_bytes()
    (tmp_path / "model.bin").write_bytes(weights[:6] + b"WhisperOops" + weights[17:])
    with pytest.raises(Permanent, match="engine whisper runs Whisper"):
        Whisper().prepare(msgspec.structs.replace(MODEL, source=str(tmp_path)), tmp_path / "a", print)


def test_the_command_keeps_to_its_share() -> None:
    """Threads are its CPU share and sleep while they wait; the form is the one that was asked for."""
    made = Artifact(digest="0" * 20, path="/a", files={"weights": "ct2"}, memory_bytes=1)
    command = Whisper().command(MODEL, made, "unix:/run/e.sock", 0)
    assert {"--weights=/a/ct2", "--compute=int8", "--threads=2", "--slots=8"} < set(command.argv)
    assert command.env["OMP_WAIT_POLICY"] == "passive"
    assert not any("--encoder" in word for word in command.argv)
    more = msgspec.structs.replace(made, files={"weights": "ct2", "encoder": "openvino"})
    assert "--encoder=/a/openvino" in Whisper().command(MODEL, more, "unix:/run/e.sock", 0).argv
    free = msgspec.structs.replace(MODEL, engine=msgspec.structs.replace(MODEL.engine, quantise=""))
    assert "--compute=auto" in Whisper().command(free, made, "unix:/run/e.sock", 0).argv
    assert whisper.SECONDS_MAX == 3_600


def test_weights_without_such_an_encoder_keep_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepared: Callable[[str], tuple[ModelSpec, Artifact]]
) -> None:
    """It is said, and the model is served; the default has one where OpenVINO is installed."""
    assert prepared("whisper")[1].files == {"weights": "ct2", "encoder": "openvino"}

    def write(weights: Path, target: Path) -> None:
        raise Permanent("another form")

    monkeypatch.setattr("headrace.engines.whisper_graph.write", write)
    monkeypatch.setattr(golden, "prove", lambda _engine, _model, found, _artifacts, _say: found)
    said: list[str] = []
    made = Whisper().prepare(MODEL, tmp_path, said.append)
    assert made.files == {"weights": "ct2"}
    assert "another form; CTranslate2's own encoder is used" in said[-1]


def _repeated(times: int) -> bytes:
    samples: Samples = np.tile(np.frombuffer(sounds.speech(form="pcm"), np.int16), times)
    return sounds.file("ogg", "libopus", samples, 24_000)


def test_the_golden_question_finds_wrong_weights(prepared: Callable[[str], tuple[ModelSpec, Artifact]]) -> None:
    """A word that is not said is not heard."""
    model, artifact = prepared("whisper")
    assert model.golden is not None
    asked = msgspec.structs.replace(model.golden, expect="elephant")
    with (
        pytest.raises(Permanent, match=r"heard '.*', without 'elephant'"),
        golden.running(Whisper(), model, artifact) as (address, _),
    ):
        golden.check(Whisper(), model, asked, address)
