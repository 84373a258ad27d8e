"""Pictures, recordings, files, batches and films answer as OpenAI's published description says, and hold what was asked."""

import base64
import gzip
import io
import json
from pathlib import Path

import jsonschema
import pytest
import requests
import schemathesis
from PIL import Image

from tests.e2e.cloud import Cloud

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

SPEC = Path(__file__).parents[1] / "data" / "openai-media.json.gz"


class Api:
    """Requests to one cloud, each answer held against the description of its path."""

    def __init__(self, cloud: Cloud) -> None:
        self._description = json.loads(gzip.decompress(SPEC.read_bytes()))
        self._schema = schemathesis.openapi.from_dict(self._description)
        self._url, self._headers = cloud.url, {"Authorization": f"Bearer {cloud.key}"}

    def __call__(self, method: str, path: str, name: str = "", schema: str = "", **more: object) -> requests.Response:
        """`name` takes the place of what stands in braces; `schema` names the one of several that is meant."""
        real = path.partition("{")[0] + name + path.partition("}")[2] if name else path
        answer = requests.request(method, f"{self._url}/v1{real}", headers=self._headers, timeout=120, **more)
        assert answer.status_code == 200, answer.text
        if schema:
            self.holds(schema, answer.json())
        else:
            self._schema[path][method].validate_response(answer)
        return answer

    def holds(self, schema: str, value: object) -> None:
        """Whether a value is what the description calls so."""
        meant = {"$ref": f"#/components/schemas/{schema}", "components": self._description["components"]}
        jsonschema.validate(value, meant)


@pytest.fixture
def api(cloud: Cloud) -> Api:
    return Api(cloud)


def test_pictures_conform(api: Api):
    """One of words, and one of that."""
    drawn = api("POST", "/images/generations", json={"model": "painter", "prompt": "a red circle", "seed": 1}).json()
    picture = base64.b64decode(drawn["data"][0]["b64_json"])
    assert Image.open(io.BytesIO(picture)).size == (256, 256)
    form = {"model": "painter", "prompt": "a blue circle", "size": "64x64"}
    edited = api("POST", "/images/edits", data=form, files={"image": ("a.png", picture, "image/png")}).json()
    assert Image.open(io.BytesIO(base64.b64decode(edited["data"][0]["b64_json"]))).size == (64, 64)


@pytest.mark.parametrize(("kind", "schema"), [("json", ""), ("verbose_json", "CreateTranscriptionResponseVerboseJson")])
def test_what_was_said_conforms(api: Api, cloud: Cloud, kind: str, schema: str):
    """Of a text that was spoken by the same cloud. The description's `oneOf` is met twice by what is verbose."""
    said = {"model": "espeak", "input": "The capital of France is Paris.", "voice": "alloy", "response_format": "wav"}
    headers = {"Authorization": f"Bearer {cloud.key}"}
    sound = requests.post(f"{cloud.url}/v1/audio/speech", json=said, headers=headers, timeout=120)
    assert sound.headers["content-type"] == "audio/wav"
    form = {"model": "whisper", "response_format": kind}
    heard = api(
        "POST", "/audio/transcriptions", schema=schema, data=form, files={"file": ("a.wav", sound.content)}
    ).json()
    assert "paris" in heard["text"].casefold()


def test_files_and_batches_conform(api: Api):
    """Made, listed, looked at, cancelled and deleted; long enough to be cancelled before it is done."""
    call = {"method": "POST", "url": "/v1/embeddings", "body": {"model": "minilm", "input": "x " * 200}}
    lines = "\n".join(json.dumps({"custom_id": str(number), **call}) for number in range(2_000))
    file = api("POST", "/files", data={"purpose": "batch"}, files={"file": ("a.jsonl", lines)}).json()
    assert file["id"] in [one["id"] for one in api("GET", "/files").json()["data"]]
    assert api("GET", "/files/{file_id}", file["id"]).json()["bytes"] == len(lines)
    wanted = {"input_file_id": file["id"], "endpoint": "/v1/embeddings", "completion_window": "24h"}
    batch = api("POST", "/batches", json=wanted).json()
    assert batch["id"] in [one["id"] for one in api("GET", "/batches").json()["data"]]
    api("POST", "/batches/{batch_id}/cancel", batch["id"])
    assert api("GET", "/batches/{batch_id}", batch["id"]).json()["input_file_id"] == file["id"]
    assert api("DELETE", "/files/{file_id}", file["id"]).json()["deleted"] is True


def test_films_conform(cloud: Cloud, api: Api):
    """Asked for, waited for, fetched and deleted; but for the sizes, of which the description knows four large ones."""
    wanted = {"model": "film", "prompt": "a red circle", "seconds": "1", "size": "128x128"}
    film = cloud.post("/v1/videos", wanted)
    done = cloud.until(
        lambda: (found := cloud.get(f"/v1/videos/{film['id']}"))["status"] == "completed" and found, 60, "the film"
    )
    for one in (film, done):
        api.holds("VideoResource", {**one, "size": "720x1280"})
    assert (done["progress"], done["seconds"], done["size"]) == (100, "1", "128x128")
    headers = {"Authorization": f"Bearer {cloud.key}"}
    data = requests.get(f"{cloud.url}/v1/videos/{film['id']}/content", headers=headers, timeout=60)
    assert data.content[4:8] == b"ftyp"
    assert api("DELETE", "/videos/{video_id}", film["id"]).json()["id"] == film["id"]
