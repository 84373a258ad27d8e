"""Which colour prevails in a picture: what the golden question asks of a model that draws.

Pillow is imported inside: adapters import `golden`, and golden this.
"""

import colorsys
from typing import Final

# Names of hues by where they end, in degrees; what is left is red again.
_HUES: Final = (
    (15, "red"),
    (42, "orange"),
    (68, "yellow"),
    (165, "green"),
    (200, "cyan"),
    (255, "blue"),
    (300, "purple"),
    (340, "pink"),
)
_VIVID: Final = 0.35  # saturation and value from which on a pixel has a hue
_FEW: Final = 0.02  # of all pixels: fewer with a hue, and the picture is grey
_SIDE: Final = 64


def prevailing(data: bytes) -> str:
    """The name of the colour that most pixels with a hue have; black, grey or white of a picture without.

    Raises OSError when the bytes are no picture.
    """
    import io

    from PIL import Image

    with Image.open(io.BytesIO(data)) as picture:
        small = picture.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    seen: dict[str, int] = {}
    plain: list[float] = []
    raw = small.tobytes()
    for at in range(0, len(raw), 3):
        hue, saturation, value = colorsys.rgb_to_hsv(*(level / 255 for level in raw[at : at + 3]))
        if min(saturation, value) >= _VIVID:
            name = next((name for end, name in _HUES if hue * 360 < end), "red")
            seen[name] = seen.get(name, 0) + 1
        else:
            plain.append(value)
    if seen and sum(seen.values()) >= _FEW * _SIDE * _SIDE:
        return max(seen, key=lambda name: seen[name])
    mean = sum(plain) / len(plain)
    return "black" if mean < 0.25 else "white" if mean > 0.75 else "grey"
