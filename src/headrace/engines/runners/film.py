"""Frames to a film: H.264 in MP4, by PyAV. Knows no model."""

import io
from collections.abc import Iterable
from typing import Any

import av
import numpy as np


def encode(frames: Iterable[Any], fps: int) -> bytes:
    """RGB frames, uint8 [height, width, 3] with even sides and of one size, `fps` a second, as an MP4 file."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as file:
        stream: Any = None
        for pixels in frames:
            if stream is None:
                stream = file.add_stream("libx264", rate=fps, options={"crf": "18", "preset": "veryfast"})
                stream.height, stream.width = pixels.shape[:2]
                stream.pix_fmt = "yuv420p"  # what every player shows
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        if stream is None:
            raise ValueError("a film needs a frame")
        file.mux(stream.encode(None))
    return out.getvalue()
