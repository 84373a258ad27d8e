"""A poster: drawn four times, scored, the best enlarged: `headrace pipeline run poster.py colour=red shape=circle`."""

import io

from PIL import Image

from headrace import image, load, pipeline, step, upscale

COLOURS = {"red": (220, 40, 40), "green": (40, 160, 60), "blue": (40, 80, 220), "yellow": (240, 210, 40)}


@step(retries=3)
async def draw(words: str, seed: int) -> dict:
    """One picture."""
    return await image("painter", words, size="128x128", seed=seed)


@step()
async def score(picture: dict, colour: str) -> float:
    """Which part of the picture has the colour, 0 to 1."""
    wanted, pixels = COLOURS[colour], Image.open(io.BytesIO(await load(picture))).convert("RGB").getdata()
    near = sum(all(abs(a - b) < 90 for a, b in zip(pixel, wanted, strict=True)) for pixel in pixels)
    return near / len(pixels)


@step(retries=3, timeout="2m")
async def enlarge(picture: dict) -> dict:
    """Twice as large."""
    return await upscale("upscaler", picture, scale=2)


@pipeline(cost="0.05", time="5m", width=4)
async def poster(colour: str, shape: str) -> dict:
    """Four drawings side by side; the one with the most of the colour, enlarged."""
    drawn = await draw.map([f"a {colour} {shape} on a white background"] * 4, range(4))
    scores = await score.map(drawn, [colour] * 4)
    best = max(range(4), key=scores.__getitem__)
    return {"poster": await enlarge(drawn[best]), "best": best, "scores": scores}
