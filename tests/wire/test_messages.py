"""Messages: what clients copy back from answers is taken, what nobody here can use is refused by name."""

import base64
import json

import pytest

from headrace import errors
from headrace.state.table import Ability, Media
from tests.wire.bodies import HI, chat, sent
from tests.wire.media_files import huge_png, png


def test_an_answer_may_be_copied_into_the_next_request():
    """With every key the clients' own types write, nulls included; reasoning is not sent again."""
    copied = {
        "role": "assistant",
        "content": "Hello",
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
        "tool_calls": None,
        "reasoning_content": "hm",
    }
    assert sent(chat(messages=[copied, *HI]))["messages"][0] == {"role": "assistant", "content": "Hello"}


def test_a_refusal_is_what_was_said():
    """As content, or as a part of it."""
    messages = [
        {"role": "assistant", "refusal": "No."},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "Never."}]},
        *HI,
    ]
    assert [m["content"] for m in sent(chat(messages=messages))["messages"]] == ["No.", "Never.", "Hi"]


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "assistant", "function_call": {"name": "x"}}, "messages[0].function_call"),
        ({"role": "assistant", "content": "x", "audio": {"id": "x"}}, "messages[0].audio"),
        ({"role": "user", "content": [{"type": "file", "file": {}}]}, "messages[0].content[0].type"),
        ({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}, "messages[0].content[0].type"),
        ({"role": "function", "name": "x", "content": "y"}, "messages[0].role"),
        ({"role": "tool", "content": "y"}, "messages[0].tool_call_id"),
        ({"role": "user", "content": "x", "name": "n" * 257}, "messages[0].name"),
    ],
)
def test_what_is_not_done_is_refused_by_name(message: dict, param: str):
    """With the place of the message."""
    with pytest.raises(errors.Invalid) as refused:
        chat(messages=[message])
    assert refused.value.param.replace("[...]", "[0]") == param


def seeing(*pictures: str, media: Media | None = None):
    parts = [{"type": "image_url", "image_url": {"url": url, "detail": "auto"}} for url in pictures]
    call = chat(messages=[{"role": "user", "content": [{"type": "text", "text": "Read."}, *parts]}])
    ability = Ability(dialect="headrace", images=True, media=media)
    return call, lambda: json.loads(call.render(ability, "up", 64, 2048)[1])["messages"][0]["content"]


def test_a_model_that_sees_is_sent_pictures_in_their_order():
    """Beside the text; each is taken for so many tokens, and its bytes for none."""
    url = "data:image/png;base64," + base64.b64encode(png()).decode()
    call, content = seeing(url, url)
    assert content() == [
        {"type": "text", "text": "Read."},
        {"type": "image_url", "image_url": {"url": url, "detail": "auto"}},
        {"type": "image_url", "image_url": {"url": url, "detail": "auto"}},
    ]
    assert (call.input_bytes, call.input_tokens) == (5, 1 + 8 + 2 * 1_024)
    with pytest.raises(errors.Invalid, match="'image_url' is not supported by this model"):
        sent(call)


@pytest.mark.parametrize(
    ("data", "said"),
    [(huge_png(), "60000 x 60000"), (b"GIF89a", "send PNG, JPEG or WebP"), (png(40, 40), "at most 100 in all")],
)
def test_a_picture_that_cannot_be_seen_is_refused(data: bytes, said: str):
    """With its place."""
    _, content = seeing("data:image/png;base64," + base64.b64encode(data).decode(), media=Media(pixels_max=100))
    with pytest.raises(errors.Invalid, match=said) as refused:
        content()
    assert refused.value.param == "messages[0].content[1].image_url.url"


def test_nothing_is_fetched_and_there_is_a_bound():
    """Addresses of elsewhere; seventeen pictures."""
    with pytest.raises(errors.Invalid, match="nothing is fetched"):
        seeing("http://169.254.169.254/latest")[1]()
    with pytest.raises(errors.Invalid, match="17 pictures; the limit is 16"):
        seeing(*["data:image/png;base64,AAAA"] * 17)[1]()
