"""Commands of pictures and sound: what is sent, what is written, and that nothing is paid for what cannot be kept."""

import base64
import json
from pathlib import Path

import pytest

from headrace.wire import multipart
from tests.sdk.server import Answer
from tests.wire.media_files import png, wav

HEADERS = {"x-request-id": "req_1", "x-headrace-replica": "m-v1-1", "x-headrace-cost": "0.000100000"}
CODED = base64.b64encode(png()).decode()


@pytest.fixture
def media(cloud):
    pictures = Answer({"created": 1, "data": [{"b64_json": CODED}, {"b64_json": CODED}]}, headers=HEADERS)
    cloud.answers["POST /v1/images/generations"] = pictures
    cloud.answers["POST /v1/images/upscale"] = Answer({"data": [{"b64_json": CODED}]}, headers=HEADERS)
    cloud.answers["POST /v1/audio/speech"] = Answer(wav(), headers=HEADERS)
    cloud.answers["POST /v1/audio/transcriptions"] = Answer(b" Hello.\n", headers=HEADERS)
    return cloud


def form(heard) -> multipart.Form:
    return multipart.read(heard.body, heard.headers["content-type"].encode())


def test_pictures_are_written_and_paid_for_in_one_line(cli, media, tmp_path: Path):
    """Several get numbers; the ending says the format."""
    done = cli("image", "m", "a red circle", "-n", "2", "--seed", "3", "-o", str(tmp_path / "a.webp"))
    assert done.status == 0, done.err
    assert done.out.split() == [str(tmp_path / "a-1.webp"), str(tmp_path / "a-2.webp")]
    assert (tmp_path / "a-1.webp").read_bytes() == png()
    assert media.heard[0].json == {
        "model": "m", "prompt": "a red circle", "n": 2, "size": "auto", "output_format": "webp", "seed": 3,
    }  # fmt: skip
    assert done.err.startswith("─ 2 images · ")
    assert "$0.000100000 · replica m-v1-1   explain: headrace explain req_1" in done.err


def test_a_picture_is_enlarged_beside_itself(cli, media, tmp_path: Path):
    """As PNG, under a name of its own."""
    (tmp_path / "a.jpg").write_bytes(png(kind="JPEG"))
    done = cli("upscale", "m", str(tmp_path / "a.jpg"), "--scale", "4")
    assert (done.status, done.out.strip()) == (0, str(tmp_path / "a-large.png"))
    assert (tmp_path / "a-large.png").read_bytes() == png()
    sent = form(media.heard[0])
    assert (sent.text("model"), sent.text("scale"), sent.file("image").data) == ("m", "4", png(kind="JPEG"))


def test_a_text_is_spoken_into_a_file(cli, media, tmp_path: Path):
    """From the command line or standard input."""
    done = cli("speak", "m", "-o", str(tmp_path / "a.wav"), "--voice", "nova", stdin="Hello.")
    assert (done.status, done.out.strip()) == (0, str(tmp_path / "a.wav"))
    assert (tmp_path / "a.wav").read_bytes() == wav()
    assert media.heard[0].json == {
        "model": "m", "input": "Hello.", "voice": "nova", "speed": 1.0, "response_format": "wav",
    }  # fmt: skip
    assert done.err.startswith("─ 6 characters · ")


def test_a_text_is_spoken_into_a_pipe_as_it_comes(cli, media):
    """Bytes alone on standard output; what it took on the other."""
    events = [
        {"type": "speech.audio.delta", "audio": base64.b64encode(b"RIFF and ").decode()},
        {"type": "speech.audio.delta", "audio": base64.b64encode(b"the rest").decode()},
        {"type": "speech.audio.done", "usage": {"headrace": {"cost": "0.000030000", "unit": "USD"}}},
    ]
    said = [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events]
    media.answers["POST /v1/audio/speech"] = Answer(said, headers=HEADERS)
    done = cli("speak", "m", "Hello.", "-o", "-", "--format", "wav")
    assert done.status == 0, done.err
    assert done.out == "RIFF and the rest"
    assert media.heard[0].json["stream_format"] == "sse"
    assert "$0.000030000" in done.err


def test_a_recording_is_written_down(cli, media, tmp_path: Path):
    """To standard output, in the format that was asked for."""
    (tmp_path / "a.wav").write_bytes(wav())
    done = cli("transcribe", "m", str(tmp_path / "a.wav"), "--format", "srt", "--language", "en")
    assert (done.status, done.out) == (0, "Hello.\n")
    sent = form(media.heard[0])
    assert (sent.text("response_format"), sent.text("language"), sent.file("file").data) == ("srt", "en", wav())


def test_a_film_is_a_job_that_is_waited_for(cli, media, tmp_path: Path):
    """In the first size its model makes; a failure is told as it was."""
    film = {"id": "video_1", "object": "video", "status": "completed", "progress": 100,
            "headrace": {"cost": "0.002", "cost_unit": "USD"}}  # fmt: skip
    media.answers["GET /v1/models/m"] = Answer({"id": "m", "task": "video", "media": {"sizes": ["128x128"]}})
    media.answers["POST /v1/videos"] = Answer(film)
    media.answers["GET /v1/videos/video_1/content"] = Answer(b"mp4")
    done = cli("video", "m", "a red circle", "-o", str(tmp_path / "a.mp4"), "--seconds", "2")
    assert (done.status, done.out.strip()) == (0, str(tmp_path / "a.mp4"))
    assert (tmp_path / "a.mp4").read_bytes() == b"mp4"
    assert media.heard[1].json == {"model": "m", "prompt": "a red circle", "seconds": "2", "size": "128x128"}
    assert "2 s of film" in done.err
    assert "$0.002" in done.err
    media.answers["POST /v1/videos"] = Answer({**film, "status": "failed", "error": {"message": "no words"}})
    failed = cli("video", "m", "x", "-o", str(tmp_path / "b.mp4"))
    assert (failed.status, (tmp_path / "b.mp4").exists()) == (1, False)
    assert "video_1 failed: no words" in failed.err


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("image", "m", "x", "-o", "{there}"), 2, "is there already; give another -o FILE, or --force"),
        (("image", "m", "x", "-o", "{folder}/no/a.png"), 2, "is not there; make it"),
        (("image", "m", "x", "-o", "{folder}/a.gif"), 2, "ends in .gif; give .png, .jpg or .webp"),
        (("speak", "m", "x", "-o", "{folder}/a.txt"), 2, "ends in .txt; give one of .mp3"),
        (("speak", "m", "-o", "{folder}/a.wav"), 2, "there is no text"),
        (("transcribe", "m", "{folder}/none.wav"), 2, "cannot be read: No such file"),
        (("upscale", "m", "{folder}/none.png"), 2, "cannot be read: No such file"),
    ],
)
def test_nothing_is_asked_whose_answer_could_not_be_kept(cli, media, tmp_path: Path, words, status, said):
    """A usage error, before anything costs anything."""
    there = tmp_path / "there.png"
    there.write_bytes(b"x")
    done = cli(*(word.format(there=there, folder=tmp_path) for word in words))
    assert done.status == status
    assert said in done.err
    assert media.heard == []
    assert there.read_bytes() == b"x"
