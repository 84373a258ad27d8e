"""Pictures of words, of pictures, and larger ones."""

import base64
import json

import pytest

from headrace import errors
from headrace.state.table import Ability, Media
from headrace.wire import multipart
from headrace.wire.endpoint import ROUTES
from headrace.wire.usage import Counts
from tests.wire.media_files import form, huge_png, png

GENERATIONS, EDITS, UPSCALE = "/v1/images/generations", "/v1/images/edits", "/v1/images/upscale"
OURS = Ability(dialect="headrace", media=Media(sizes=("64x64", "256x256"), formats=("png", "webp"), edits=True))
ENLARGES = Ability(dialect="headrace", media=Media(scales=(2, 4), pixels_max=10_000))
THEIRS = Ability(dialect="openai")
CODED = base64.b64encode(png()).decode()


def ask(**fields: object):
    return ROUTES[GENERATIONS].parse(json.dumps({"model": "m", "prompt": "a red circle", **fields}).encode())


def edit(*pictures: bytes, **fields: object):
    files = [("image[]" if len(pictures) > 1 else "image", ("a.png", picture)) for picture in pictures]
    return ROUTES[EDITS].parse(*form(files, model="m", prompt="blue", **fields))


def sent(call, ability=OURS):
    path, body = call.render(ability, "up", 64, 2048)
    return path, json.loads(body)


def made(*pictures: str) -> bytes:
    return json.dumps({"created": 7, "data": [{"b64_json": coded} for coded in pictures]}).encode()


def test_words_reach_our_engine_with_what_was_declared():
    """The first size it makes where none is asked for; pictures are counted before and after."""
    call = ask(n=2, seed=3, output_format="webp", quality="auto", user="u")
    assert (call.task, call.items, call.output_bound(512, 2048)) == ("image", 2, 0)
    assert sent(call) == (
        GENERATIONS,
        {"model": "up", "n": 2, "size": "64x64", "output_format": "webp", "seed": 3, "prompt": "a red circle"},
    )
    assert call.counts(made(CODED, CODED), "headrace") == Counts(items=2)
    shown = json.loads(call.finish(made(CODED, CODED), "r", Counts(items=2)))
    assert [item["b64_json"] for item in shown["data"]] == [CODED, CODED]
    assert (shown["created"], shown["output_format"], shown["usage"]["images"]) == (7, "png", 2)


def test_a_foreign_server_is_asked_as_openai_is():
    """A form for pictures, the fields that OpenAI has."""
    assert sent(ask(), THEIRS) == (GENERATIONS, {"model": "up", "n": 1, "prompt": "a red circle"})
    call = edit(png(), png(9, 9), n=2)
    path, body = call.render(THEIRS, "up", 64, 2048)
    found = multipart.read(body, call.content_type)
    assert path == EDITS
    assert (found.text("model"), found.text("n"), found.text("prompt")) == ("up", "2", "blue")
    assert [part.data for part in found.files("image")] == [png(), png(9, 9)]


def test_an_edit_reaches_our_engine_as_base64():
    """And one engine that enlarges takes it too."""
    call = edit(png(), size="256x256", strength="0.5", seed="4")
    path, body = sent(call)
    assert (path, body["images"], body["size"], body["strength"], body["seed"]) == (EDITS, [CODED], "256x256", 0.5, 4)
    assert call.content_type == b""
    assert "upscale" in call.also
    assert sent(edit(png(), scale="4"), ENLARGES) == (
        UPSCALE, {"model": "up", "image": CODED, "scale": 4, "output_format": "png"},
    )  # fmt: skip


@pytest.mark.parametrize("as_form", [True, False])
def test_a_picture_to_enlarge_comes_as_a_form_or_as_json(as_form):
    """Alike."""
    if as_form:
        call = ROUTES[UPSCALE].parse(*form([("image", ("a.png", png()))], model="m", scale=2))
    else:
        body = json.dumps({"model": "m", "image": f"data:image/png;base64,{CODED}", "scale": 2}).encode()
        call = ROUTES[UPSCALE].parse(body, b"application/json")
    assert (call.task, call.items) == ("upscale", 1)
    assert sent(call, ENLARGES)[1]["image"] == CODED


def test_a_stream_is_one_event_a_picture():
    """With the charge where usage is shown."""
    call = ask(stream=True, n=2)
    assert call.buffered
    events = call.finish_stream(made(CODED, CODED), "r", 5, Counts(items=2, bill={"cost": "0.1"}))
    assert [event.split(b"\n")[0] for event in events] == [b"event: image_generation.completed"] * 2
    last = json.loads(events[-1].split(b"data: ")[1])
    assert (last["b64_json"], last["created_at"], last["usage"]["headrace"]) == (CODED, 7, {"cost": "0.1"})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"prompt": ""}, "'prompt'"),
        ({"n": 11}, "'n'"),
        ({"size": "big"}, "'size'"),
        ({"response_format": "url"}, "pictures are not kept here; ask for b64_json"),
        ({"quality": "hd"}, "'quality' other than auto"),
        ({"background": "transparent"}, "'background' other than opaque"),
        ({"style": "vivid"}, "'style'"),
        ({"partial_images": 2}, "'partial_images'"),
        ({"promt": "x"}, "Did you mean 'prompt'"),
        ({"size": "512x512"}, "512x512; this model makes 64x64, 256x256"),
        ({"output_format": "jpeg"}, "jpeg is not made by this model; png, webp are"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(fields, said):
    """At reading, or when the model is known."""
    with pytest.raises(errors.Invalid, match=said):
        sent(ask(**fields))


@pytest.mark.parametrize(
    ("ask_it", "said"),
    [
        (lambda: edit(huge_png()), "60000 x 60000 pixels"),
        (lambda: edit(b"%PDF-1.4"), "send PNG, JPEG or WebP"),
        (
            lambda: ROUTES[EDITS].parse(*form([("mask", ("a.png", png()))], model="m")),
            "Missing required parameter: 'image'",
        ),
        (lambda: edit(*[png()] * 17), "17 pictures; the limit is 16"),
        (lambda: edit(png(), size="9"), "write it like 256x256"),
        (lambda: sent(edit(png(101, 100)), ENLARGES), "101 x 100 pixels; this model takes at most 10000"),
        (lambda: sent(edit(png(), scale=3), ENLARGES), "3; this model enlarges by 2, 4"),
        (lambda: sent(edit(png(), png()), ENLARGES), "one picture a request; there are 2"),
        (lambda: sent(edit(png()), Ability(dialect="headrace", media=Media())), "draws from words alone"),
    ],
)
def test_a_picture_that_cannot_be_used_is_refused(ask_it, said):
    """Before an engine sees it."""
    with pytest.raises(errors.Invalid, match=said):
        ask_it()


@pytest.mark.parametrize("body", [made(), made(CODED, CODED), made("SGVsbG8="), b"{}", b"x"])
def test_an_engine_that_gives_no_picture_is_not_believed(body):
    """None, too many, or something else."""
    with pytest.raises(errors.Transient):
        ask().finish(body, "r")
