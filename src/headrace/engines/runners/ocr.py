"""Reads the text in pictures: PP-OCR's three networks on onnxruntime, lines of many requests in one batch.

One network finds lines, one tells which lie upside down, one reads them. Used in the thread that computes.
"""

from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import onnxruntime
from PIL import Image

from headrace.engines.runners import ocr_boxes
from headrace.engines.runners.batching import Batch
from headrace.engines.runners.ocr_boxes import Box

_SHORT_SIDE: Final = 736  # smaller pictures are enlarged for the detector,
_ENLARGED_MAX: Final = 1.5  # by this at most: more found nothing else in print of 8 to 40 pixels, at ten times the cost
_LONG_SIDE: Final = 1984
_MULTIPLE: Final = 32
_HEIGHT: Final = 48  # of a line for the reader
_WIDTHS: Final = (16, 3200)
_TURN_WIDTH: Final = 192
_TURN_MIN: Final = 0.9
_BLANK: Final = 0


class Found(NamedTuple):
    """What was read in one box. `positions` is how many places along the line the reader looked at.

    `over`: the line lay on its head.
    """

    text: str
    confidence: float
    positions: int
    over: bool = False


class Reader:
    """The networks of a folder: det.onnx, rec.onnx and, where it is, cls.onnx."""

    def __init__(self, folder: str, threads: int) -> None:
        self._detector = _session(Path(folder) / "det.onnx", threads)
        self._recogniser = _session(Path(folder) / "rec.onnx", threads)
        turned = Path(folder) / "cls.onnx"
        self._turned = _session(turned, threads) if turned.exists() else None
        letters = self._recogniser.get_modelmeta().custom_metadata_map["character"].split("\n")
        self._letters = ["", *letters, " "]
        classes = self._recogniser.get_outputs()[0].shape[-1]
        if classes == len(self._letters) - 1:  # the list ended with a line feed
            del self._letters[-2]
        if classes != len(self._letters):
            raise ValueError(f"the reader tells {classes} letters apart and names {len(self._letters)}")

    def find(self, batch: Batch[Image.Image]) -> list[list[Box]]:
        """Boxes in pictures that `scaled` to one size, in pixels of the pictures."""
        planes = np.stack([_planes(_fitted(picture)) for picture in batch.works])
        maps = self._detector.run(None, {self._detector.get_inputs()[0].name: planes})[0]
        return [
            ocr_boxes.boxes(found[0], picture.width, picture.height)
            for found, picture in zip(maps, batch.works, strict=True)
        ]

    def read(self, batch: Batch[Image.Image]) -> list[Found]:
        """The text of lines that `line` made; they are padded to the widest."""
        over = self._over(batch.works)
        lines = [
            work.transpose(Image.Transpose.ROTATE_180) if turned else work
            for work, turned in zip(batch.works, over, strict=True)
        ]
        planes = np.zeros((len(lines), 3, _HEIGHT, max(line.width for line in lines)), np.float32)
        for row, line in enumerate(lines):
            planes[row, :, :, : line.width] = _planes(line)
        letters = self._recogniser.run(None, {self._recogniser.get_inputs()[0].name: planes})[0]
        best, likely = letters.argmax(2), letters.max(2)
        return [self._text(*found) for found in zip(best, likely, over, strict=True)]

    def _text(self, best: Any, likely: Any, over: bool) -> Found:
        """Source: CTC (Graves et al. 2006), the best path: what repeats is one letter, blanks divide."""
        fresh = np.concatenate([[True], best[1:] != best[:-1]]) & (best != _BLANK)
        text = "".join([self._letters[letter] for letter in best[fresh]])
        return Found(text, float(likely[fresh].mean()) if fresh.any() else 0.0, len(best), over)

    def _over(self, lines: list[Image.Image]) -> list[bool]:
        """Which of them lie on their heads."""
        if self._turned is None:
            return [False] * len(lines)
        planes = np.zeros((len(lines), 3, _HEIGHT, _TURN_WIDTH), np.float32)
        for row, line in enumerate(lines):
            short = line if line.width <= _TURN_WIDTH else line.resize((_TURN_WIDTH, _HEIGHT))
            planes[row, :, :, : short.width] = _planes(short)
        likely = self._turned.run(None, {self._turned.get_inputs()[0].name: planes})[0][:, 1]
        return [bool(one > _TURN_MIN) for one in likely]


def scaled(width: int, height: int) -> tuple[int, int]:
    """The size that the detector sees a picture in: small ones enlarged, the long side at most 1,984.

    >>> scaled(640, 120), scaled(4000, 3000), scaled(1000, 800)
    ((960, 192), (1984, 1472), (992, 800))
    """
    ratio = min(max(1.0, min(_SHORT_SIDE / min(width, height), _ENLARGED_MAX)), _LONG_SIDE / max(width, height))
    across, down = (max(_MULTIPLE, round(side * ratio / _MULTIPLE) * _MULTIPLE) for side in (width, height))
    return across, down


def line(picture: Image.Image, box: Box) -> Image.Image:
    """What is in a box, as high as the reader takes it."""
    cut = ocr_boxes.straightened(picture, box.corners)
    least, most = _WIDTHS
    width = min(most, max(least, -(-_HEIGHT * cut.width // cut.height)))
    return cut.resize((width, _HEIGHT), Image.Resampling.BILINEAR)


def lines_of(found: list[Box], texts: list[Found], confidence_min: float) -> list[list[int]]:
    """Indices by lines in reading order, without boxes in which nothing was read with confidence."""
    kept = [index for index, text in enumerate(texts) if text.text.strip() and text.confidence >= confidence_min]
    ordered = ocr_boxes.in_reading_order([found[index] for index in kept], [texts[index].over for index in kept])
    return [[kept[place] for place in row] for row in ordered]


def _fitted(picture: Image.Image) -> Image.Image:
    return picture.resize(scaled(picture.width, picture.height), Image.Resampling.BILINEAR)


def _planes(picture: Image.Image) -> Any:
    """Blue, green, red in [-1, 1], float32 [3, height, width]: the networks learnt from OpenCV's order."""
    pixels = np.asarray(picture, np.float32)[:, :, ::-1].transpose(2, 0, 1)
    return np.ascontiguousarray(pixels) / np.float32(127.5) - np.float32(1)


def _session(file: Path, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False  # sizes vary: an arena would keep the largest of each
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
