"""Films: what goes in as frames comes out of a decoder."""

import io
from typing import Any

import av
import numpy as np
import pytest

from headrace.engines.runners import film


def test_frames_come_back_in_order_at_their_pace() -> None:
    """Five greys, each a frame, at 10 a second, in the colours that every player shows."""
    greys = (16, 70, 130, 190, 240)
    data = film.encode([np.full((48, 64, 3), grey, np.uint8) for grey in greys], 10)
    with av.open(io.BytesIO(data)) as file:
        stream: Any = file.streams.video[0]
        found = [float(frame.to_ndarray(format="rgb24").mean()) for frame in file.decode(stream)]
        assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 10)
        assert (stream.width, stream.height) == (64, 48)
    assert found == pytest.approx(greys, abs=4)
