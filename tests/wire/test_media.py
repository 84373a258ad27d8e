"""Headers of pictures and recordings: what is wrong or too large never reaches a decoder."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import errors
from headrace.state.table import Media
from headrace.wire import media
from tests.wire.media_files import huge_png, png, wav


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("size", [(1, 1), (640, 3), (17, 1025)])
def test_a_picture_is_measured_without_being_decoded(kind, size):
    """By its header alone."""
    assert media.picture(png(*size, kind), None, "image") == media.Picture(kind.lower(), *size)


@pytest.mark.parametrize(
    ("data", "takes", "said"),
    [
        (b"", None, "'image' is an empty file"),
        (b"GIF89a" + b"\0" * 40, None, "send PNG, JPEG or WebP"),
        (png()[:14], None, "send PNG, JPEG or WebP"),
        (b"\xff\xd8\xff\xe0\x00\x10" + b"\0" * 40, None, "send PNG, JPEG or WebP"),
        (huge_png(), None, "60000 x 60000 pixels; this model takes at most 67108864"),
        (png(40, 40), Media(pixels_max=1_000), "40 x 40 pixels; this model takes at most 1000"),
        (png(), Media(bytes_max=10), "bytes; the limit is 10"),
    ],
)
def test_a_picture_that_cannot_be_is_refused(data, takes, said):
    """A bomb by its own header; a file of another kind; one that is larger than this model takes."""
    with pytest.raises(errors.Invalid, match=said) as refused:
        media.picture(data, takes, "image")
    assert refused.value.param == "image"


def test_a_picture_may_stand_in_a_data_url_or_alone():
    """And nowhere else: nothing is fetched."""
    coded = base64.b64encode(png()).decode()
    assert media.data_url(f"data:image/png;base64,{coded}", "image") == png()
    assert media.data_url(coded, "image") == png()
    for url in ("https://example.org/a.png", "http://169.254.169.254/", "file:///etc/passwd", "data:text/html,x"):
        with pytest.raises(errors.Invalid, match="nothing is fetched"):
            media.data_url(url, "image")
    with pytest.raises(errors.Invalid, match="not valid base64"):
        media.data_url("%%%", "image")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (wav(), "wav"),
        (b"OggS" + b"\0" * 20, "ogg"),
        (b"fLaC" + b"\0" * 20, "flac"),
        (b"\0\0\0\x20ftypM4A ", "mp4"),
        (b"\x1a\x45\xdf\xa3" + b"\0" * 20, "webm"),
        (b"ID3\x04" + b"\0" * 20, "mp3"),
        (b"\xff\xfb\x90\x00" + b"\0" * 20, "mp3"),
    ],
)
def test_a_recording_is_known_by_its_first_bytes(data, kind):
    """Not by the name of its file."""
    assert media.recording(data, "whatever.txt", None, "file") == kind


def test_what_is_no_recording_is_refused():
    """And one that is too large."""
    with pytest.raises(errors.Invalid, match=r"'file' \(a.exe\) is not a recording"):
        media.recording(b"MZ\x90\0", "a.exe", None, "file")
    with pytest.raises(errors.Invalid, match="the limit is 100"):
        media.recording(wav(), "a.wav", Media(bytes_max=100), "file")


@given(st.floats(0.01, 60), st.sampled_from([8_000, 16_000, 44_100]))
def test_no_recording_is_longer_than_its_bound(seconds, rate):
    """What is held in budgets covers what will be heard."""
    assert media.longest_ms("wav", len(wav(seconds, rate)), 0) >= 1_000 * seconds


@given(st.binary(max_size=200), st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"RIFF....WEBP", b""]))
def test_any_bytes_are_measured_or_refused(data, opening):
    """`Invalid` is the only exception."""
    try:
        found = media.picture(opening + data, None, "image")
    except errors.Invalid:
        return
    assert 0 < found.width * found.height <= media.PIXELS_MAX
