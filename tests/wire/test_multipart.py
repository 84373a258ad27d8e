"""Forms: what client libraries write is read as they meant it; anything else is refused with words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import errors
from headrace.wire import multipart
from headrace.wire.multipart import Part
from tests.wire.media_files import form

TYPE = b"multipart/form-data; boundary=XX"


def body(*parts: bytes, end: bytes = b"--XX--\r\n") -> bytes:
    return b"".join(b"--XX\r\n" + part + b"\r\n" for part in parts) + end


def field(name: bytes, data: bytes = b"1") -> bytes:
    return b'Content-Disposition: form-data; name="' + name + b'"\r\n\r\n' + data


def test_a_client_library_s_form_is_read():
    """Fields, lists, files with names and any bytes."""
    data, kind = form([("file", ('a "b".wav', b"\r\n--\0\xff"))], model="m", names=["x", "ü"])
    found = multipart.read(data, kind)
    assert found.text("model") == "m"
    assert found.texts("names") == ["x", "ü"]
    assert found.file("file") == Part("file", b"\r\n--\0\xff", 'a "b".wav')
    assert found.text("nothing") is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.binary(max_size=40), st.none() | st.just("f.bin")), max_size=5))
def test_what_is_written_is_read(parts):
    """Whatever bytes there are, as long as the boundary is not among them."""
    given_parts = [Part(*part) for part in parts]
    data = multipart.write(given_parts, b"b0undary-that-is-long")
    kind = b"multipart/form-data; boundary=b0undary-that-is-long"
    assert [part for name in "abc" for part in multipart.read(data, kind).files(name)] == sorted(
        given_parts, key=lambda part: part.name
    )


@pytest.mark.parametrize(
    ("data", "kind", "said"),
    [
        (b"", TYPE, "boundary is nowhere"),
        (b"--XX", TYPE, "boundary is not followed"),
        (b"--XX\r\n" + field(b"a"), TYPE, "ends in the middle"),
        (body(b"no head"), TYPE, "no head"),
        (body(b"Content-Type: x\r\n\r\n1"), TYPE, "no Content-Disposition"),
        (body(b'Content-Disposition: attachment; name="a"\r\n\r\n1'), TYPE, "not form-data"),
        (body(b"Content-Disposition: form-data\r\n\r\n1"), TYPE, "no name"),
        (body(b"X: " + b"y" * 5_000 + b"\r\n\r\n1"), TYPE, "too long"),
        (body(field(b"a")), b"multipart/form-data", "no boundary"),
        (body(*[field(b"a")] * 65), TYPE, "more than 64 parts"),
    ],
)
def test_what_is_no_form_is_refused(data: bytes, kind: bytes, said: str):
    """With what is wrong."""
    with pytest.raises(errors.Invalid, match=said):
        multipart.read(data, kind)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes):
    """`Invalid` is the only exception."""
    try:
        multipart.read(b"--XX\r\n" + data, TYPE)
    except errors.Invalid:
        return


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda found: found.text("twice"), "'twice' stands 2 times"),
        (lambda found: found.text("long", 3), "'long' has 4 bytes; the limit is 3"),
        (lambda found: found.text("odd"), "'odd' is not valid UTF-8"),
        (lambda found: found.number("word", 0, 1), "'x' is no number"),
        (lambda found: found.number("big", 0, 1), "7; give 0 to 1"),
        (lambda found: found.file("nothing"), "Missing required parameter: 'nothing'"),
        (lambda found: found.file("twice"), "stands 2 times; give one file"),
        (lambda found: found.file("empty"), "'empty' is an empty file"),
        (lambda found: found.known("twice", "long", "odd", "word", "empty", "bigg"), "Did you mean 'bigg'"),
    ],
)
def test_a_field_that_is_wrong_is_named(ask, said: str):
    """With its value, the limit, or what was meant."""
    parts = [field(b"twice"), field(b"twice"), field(b"long", b"1234"), field(b"odd", b"\xff"), field(b"word", b"x"),
             field(b"big", b"7"), field(b"empty", b"")]  # fmt: skip
    with pytest.raises(errors.Invalid, match=said):
        ask(multipart.read(body(*parts), TYPE))
