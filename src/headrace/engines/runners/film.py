"""Frames to a film: MP4 with H.264, as every browser plays it, by FFmpeg's libraries in the wheel of PyAV."""

import io
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
TYPE: Final = "video/mp4"


class Film:
    """A film that is being made: RGB frames [height, width, 3] of one even size, `fps` of them a second."""

    def __init__(self, width: int, height: int, fps: int) -> None:
        self._file = io.BytesIO()
        self._container = av.open(self._file, "w", format="mp4")
        self._stream = self._container.add_stream("libx264", rate=fps, options={"preset": "veryfast", "crf": "20"})
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        self._stream.thread_count = 1  # a replica has its share of the cores and no more
        self.frames = 0

    def add(self, pixels: Pixels) -> None:
        """The next frame."""
        self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        self.frames += 1

    def whole(self) -> bytes:
        """The file; nothing can be added any more."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._file.getvalue()


def encode(frames: "list[Pixels]", fps: int) -> bytes:
    """All frames at once."""
    height, width = frames[0].shape[:2]
    film = Film(width, height, fps)
    for frame in frames:
        film.add(frame)
    return film.whole()
