"""Words in, a film out."""

import base64
import json

import pytest

from headrace import errors
from headrace.state.table import Ability, Media
from headrace.wire.endpoint import ROUTES
from headrace.wire.usage import Counts

PATH = "/v1/videos/generations"
OURS = Ability(dialect="headrace", media=Media(sizes=("128x128",), video_s_max=8))
MP4 = base64.b64encode(b"\0\0\0\x20ftypisom" + b"\0" * 32).decode()


def ask(**fields: object):
    return ROUTES[PATH].parse(json.dumps({"model": "m", "prompt": "a red circle", **fields}).encode())


def test_a_film_is_as_long_as_was_asked_for():
    """In milliseconds; four seconds where nothing is said."""
    call = ask(seconds="6", seed=1)
    assert (call.task, call.items) == ("video", 6_000)
    assert call.render(OURS, "up", 64, 2048)[0] == PATH
    assert json.loads(call.render(OURS, "up", 64, 2048)[1]) == {
        "model": "up", "prompt": "a red circle", "seconds": 6, "size": "128x128", "seed": 1,
    }  # fmt: skip
    assert ask().items == 4_000
    shown = json.loads(call.finish(json.dumps({"data": [{"b64_json": MP4}]}).encode(), "r", Counts(items=6_000)))
    assert (shown["data"], shown["usage"]) == ([{"b64_json": MP4}], {"type": "duration", "seconds": 6})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"seconds": 61}, "'seconds'"),
        ({"seconds": "99"}, "99; the limit is 60"),
        ({"seconds": 9}, "9; this model makes at most 8"),
        ({"size": "64x64"}, "64x64; this model makes 128x128"),
        ({"secnds": 1}, "Did you mean 'seconds'"),
    ],
)
def test_what_cannot_be_filmed_is_refused(fields, said):
    """At reading, or when the model is known."""
    with pytest.raises(errors.Invalid, match=said):
        ask(**fields).render(OURS, "up", 64, 2048)


@pytest.mark.parametrize("body", [b"{}", b'{"data":[]}', b'{"data":[{"b64_json":"SGVsbG8="}]}'])
def test_an_engine_that_gives_no_film_is_not_believed(body):
    """Whatever it is."""
    with pytest.raises(errors.Transient):
        ask().finish(body, "r")
