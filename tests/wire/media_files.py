"""Small files of known size for tests of paths that take files."""

import io
import struct
import wave

import httpx
from PIL import Image


def png(width: int = 8, height: int = 6, kind: str = "PNG") -> bytes:
    """A picture."""
    out = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(out, kind)
    return out.getvalue()


def huge_png(width: int = 60_000, height: int = 60_000) -> bytes:
    """A few bytes that say they are billions of pixels."""
    data = png()
    return data[:16] + struct.pack(">II", width, height) + data[24:]


def wav(seconds: float = 0.5, rate: int = 16_000) -> bytes:
    """Silence."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(b"\0\0" * int(seconds * rate))
    return out.getvalue()


def form(files: list[tuple[str, tuple[str, bytes]]], **fields: object) -> tuple[bytes, bytes]:
    """A body and its content type, as a client library writes them."""
    data = {name: value if isinstance(value, list) else str(value) for name, value in fields.items()}
    request = httpx.Request("POST", "http://x/", data=data, files=files)
    return request.read(), request.headers["content-type"].encode()
