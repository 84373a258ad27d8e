"""Answers carry the date, as RFC 9110 wants of a server that has a clock."""

import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime

import pytest

from headrace.gateway import answers, dates


def test_the_date_is_now_in_the_one_form_that_is_to_be_sent(monkeypatch: pytest.MonkeyPatch):
    """A date of RFC 9110's own example, and of the second after it."""
    monkeypatch.setattr(time, "time", lambda: 784_111_777.9)
    assert dates.line() == b"date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
    monkeypatch.setattr(time, "time", lambda: 784_111_778.0)
    assert dates.line() == b"date: Sun, 06 Nov 1994 08:49:38 GMT\r\n"


MAKES = {
    "a good one": lambda: answers.json({}),
    "a refusal": lambda: answers.error("not_found"),
    "a stream": lambda: answers.stream_head(b"", chunked=True),
}


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
def test_every_answer_has_one(make: Callable[[], bytes]):
    """Of this second, or of one just before."""
    (line,) = [line for line in make().split(b"\r\n") if line.startswith(b"date:")]
    assert abs(parsedate_to_datetime(line[6:].decode()).timestamp() - time.time()) < 5
