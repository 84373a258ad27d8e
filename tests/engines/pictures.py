"""Pictures made by a rule, and how alike two are: what tests of media engines compare with."""

import base64
import io
import math
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image, ImageDraw, ImageFont


def line_art(side: int, seed: int) -> Image.Image:
    """Flat shapes with dark outlines and strokes, drawn four times as large and averaged: no aliasing."""
    luck, large = np.random.default_rng(seed), 4 * side
    picture = Image.new("RGB", (large, large), tuple(luck.integers(150, 255, 3).tolist()))
    pen = ImageDraw.Draw(picture)
    for _ in range(6):
        colour = tuple(luck.integers(0, 255, 3).tolist())
        x, y = luck.integers(0, large, 2).tolist()
        half = int(luck.integers(large // 16, large // 4))
        draw = pen.ellipse if luck.integers(2) else pen.rectangle
        draw((x - half, y - half, x + half, y + half), fill=colour, outline=(0, 0, 0), width=large // 48)
    for _ in range(8):
        points = [tuple(luck.integers(0, large, 2).tolist()) for _ in range(3)]
        pen.line(points, fill=(10, 10, 10), width=large // 64, joint="curve")
    return picture.resize((side, side), Image.Resampling.BOX)


def written(lines: list[str], size: int = 28, width: int = 640) -> Image.Image:
    """Black text on white, one line under the other."""
    font = ImageFont.load_default(size)
    picture = Image.new("RGB", (width, (2 * size) * len(lines) + size), "white")
    pen = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        pen.text((size, size // 2 + 2 * size * number), line, fill="black", font=font)
    return picture


def psnr(one: Image.Image, other: Image.Image) -> float:
    """Peak signal to noise, dB: higher is more alike."""
    error = np.mean((np.asarray(one, float) - np.asarray(other, float)) ** 2)
    return 10 * math.log10(255**2 / error)


def ssim(one: Image.Image, other: Image.Image) -> float:
    """Structural similarity of the grey pictures over windows of 8 x 8, 1 for equal ones (Wang et al. 2004)."""
    a, b = (sliding_window_view(np.asarray(image.convert("L"), float), (8, 8))[::2, ::2] for image in (one, other))
    mean_a, mean_b = a.mean((2, 3)), b.mean((2, 3))
    both = (a * b).mean((2, 3)) - mean_a * mean_b
    alike = (2 * mean_a * mean_b + 6.5025) * (2 * both + 58.5225)
    return float((alike / ((mean_a**2 + mean_b**2 + 6.5025) * (a.var((2, 3)) + b.var((2, 3)) + 58.5225))).mean())


def coded(picture: Image.Image, form: str = "png", **how: Any) -> str:
    """The file in base64."""
    out = io.BytesIO()
    picture.save(out, form, **how)
    return base64.b64encode(out.getvalue()).decode()


def decoded(text: str) -> Image.Image:
    """The picture in base64."""
    return Image.open(io.BytesIO(base64.b64decode(text)))
