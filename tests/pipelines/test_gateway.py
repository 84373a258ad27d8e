"""What a run sends to the door: JSON, or a form where a file is in it, the same bytes whenever it is sent again."""

from headrace.pipelines.artifacts import Upload
from headrace.pipelines.gateway import _written
from headrace.wire import multipart


def test_a_body_with_a_file_is_a_form_that_is_the_same_to_the_byte_each_time():
    body = {
        "model": "ears",
        "file": Upload("file.wav", "audio/wav", b"RIFF\r\n--x"),
        "image[]": [Upload("a.png", "image/png", b"1")],
    }
    data, kind = _written(body)
    assert (data, kind) == _written(body)
    form = multipart.read(data, kind.encode())
    assert (form.text("model"), form.files("file")[0].data, form.files("file")[0].filename) == (
        "ears",
        b"RIFF\r\n--x",
        "file.wav",
    )
    assert _written({**body, "model": "other"})[1] != kind


def test_a_body_without_a_file_is_json():
    assert _written({"model": "m", "stop": ["a"]}) == (b'{"model":"m","stop":["a"]}', "application/json")
    assert _written(None) == (b"", "application/json")
