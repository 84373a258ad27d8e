"""Text in pictures through the whole cloud with the official client: what was drawn is what is read."""

import base64
import io
import json

import openai
import pytest
from PIL import Image

from tests.e2e.cloud import Cloud
from tests.engines.pictures import written

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
LINES = ["Invoice 4711 total 42.50 EUR", "Payment due within 30 days", "Thank you for your order"]


@pytest.fixture
def read(cloud: Cloud):
    with openai.OpenAI(base_url=f"{cloud.url}/v1", api_key=cloud.key, max_retries=0) as client:

        def ask(page: Image.Image, words: str = "What does it say?", form: str = "png"):
            out = io.BytesIO()
            page.save(out, form)
            url = f"data:image/{form};base64,{base64.b64encode(out.getvalue()).decode()}"
            content = [{"type": "text", "text": words}, {"type": "image_url", "image_url": {"url": url}}]
            return client.chat.completions.create(model="ocr", messages=[{"role": "user", "content": content}])

        yield ask


@pytest.mark.parametrize(("degrees", "form"), [(0, "png"), (90, "jpeg"), (180, "webp"), (270, "png")])
def test_a_page_is_read_from_its_first_line_to_its_last(cloud: Cloud, read, degrees: int, form: str):
    """As it lies, and counted: letters out, places looked at in; one record, paid for."""
    answer = read(written(LINES, 26, 800).rotate(degrees, expand=True), form=form)
    (choice,) = answer.choices
    assert choice.message.content.split("\n") == LINES
    assert choice.finish_reason == "stop"
    assert answer.usage.completion_tokens == len("\n".join(LINES))
    assert answer.usage.prompt_tokens > answer.usage.completion_tokens


def test_boxes_are_lines_of_json(read):
    """Asked for by the one word that it knows."""
    lines = read(written(LINES, 26, 800), "boxes").choices[0].message.content.split("\n")
    assert [json.loads(line)["text"] for line in lines] == LINES


def test_a_page_without_letters_is_empty(read):
    """Nothing is made up."""
    assert (read(Image.new("RGB", (320, 200), "white")).choices[0].message.content or "") == ""
