"""What closed APIs charge for images, speech, video and ranking, which the library of token prices does not tell.

Dollars for each `priced.SCALES` amount of a unit, generated from the price map of LiteLLM 1.106.2; prices a pixel are
given for one picture of the size in the name. A dated copy to compare with and to mirror; it is never fetched.
"""

from decimal import Decimal
from typing import Final

from headrace.specs.priced import Unit, picousd_per_unit

SOURCE: Final = "LiteLLM 1.106.2"
_ROWS: Final[tuple[tuple[str, Unit, str], ...]] = (
    ("aiml/flux-pro-v1.1", "images", "0.052"),
    ("aiml/flux-schnell", "images", "0.004"),
    ("aiml/google-imagen-4.0-ultra-generate-001", "images", "0.078"),
    ("aws/amazon.rerank-v1:0", "requests", "0.001"),
    ("azure/gpt-4o-mini-tts", "audio_ms", "0.015"),
    ("azure/gpt-image-1:high:1024x1024", "images", "0.167"),
    ("azure/gpt-image-1:high:1024x1536", "images", "0.25"),
    ("azure/gpt-image-1:high:1536x1024", "images", "0.25"),
    ("azure/gpt-image-1:low:1024x1024", "images", "0.011"),
    ("azure/gpt-image-1:low:1024x1536", "images", "0.016"),
    ("azure/gpt-image-1:low:1536x1024", "images", "0.016"),
    ("azure/gpt-image-1:medium:1024x1024", "images", "0.042"),
    ("azure/gpt-image-1:medium:1024x1536", "images", "0.063"),
    ("azure/gpt-image-1:medium:1536x1024", "images", "0.063"),
    ("azure/gpt-realtime-whisper", "audio_ms", "0.0169998"),
    ("azure/tts-1", "characters", "15"),
    ("azure/tts-1-hd", "characters", "33"),
    ("azure/whisper-1", "audio_ms", "0.006"),
    ("azure_ai/FLUX-1.1-pro", "images", "0.04"),
    ("azure_ai/cohere-rerank-v3-english", "requests", "0.002"),
    ("azure_ai/cohere-rerank-v3-multilingual", "requests", "0.002"),
    ("azure_ai/cohere-rerank-v4.0-fast", "requests", "0.002"),
    ("azure_ai/cohere-rerank-v4.0-pro", "requests", "0.0025"),
    ("azure_ai/whisper", "audio_ms", "0.006"),
    ("dashscope/wan2.7-t2v", "video_ms", "0.143353"),
    ("dashscope/wan2.7-t2v:1080p", "video_ms", "0.143353"),
    ("dashscope/wan2.7-t2v:720p", "video_ms", "0.086012"),
    ("gemini/veo-3.1-fast-generate-001", "video_ms", "0.1"),
    ("gemini/veo-3.1-fast-generate-001:1080p", "video_ms", "0.12"),
    ("gemini/veo-3.1-fast-generate-preview", "video_ms", "0.1"),
    ("gemini/veo-3.1-fast-generate-preview:1080p", "video_ms", "0.12"),
    ("gemini/veo-3.1-generate-001", "video_ms", "0.4"),
    ("gemini/veo-3.1-generate-preview", "video_ms", "0.4"),
    ("gemini/veo-3.1-lite-generate-preview", "video_ms", "0.05"),
    ("gemini/veo-3.1-lite-generate-preview:1080p", "video_ms", "0.08"),
    ("openai/gpt-4o-mini-tts", "audio_ms", "0.015"),
    ("openai/sora-2", "video_ms", "0.1"),
    ("qwen_ai_platform/wan2.7-t2v", "video_ms", "0.143353"),
    ("qwen_ai_platform/wan2.7-t2v:1080p", "video_ms", "0.143353"),
    ("qwen_ai_platform/wan2.7-t2v:720p", "video_ms", "0.086012"),
    ("qwencloud/wan2.7-t2v", "video_ms", "0.15"),
    ("qwencloud/wan2.7-t2v:1080p", "video_ms", "0.15"),
    ("qwencloud/wan2.7-t2v:720p", "video_ms", "0.1"),
    ("vertex_ai/veo-3.1-fast-generate-001", "video_ms", "0.1"),
    ("vertex_ai/veo-3.1-fast-generate-001:1080p", "video_ms", "0.12"),
    ("vertex_ai/veo-3.1-fast-generate-preview", "video_ms", "0.1"),
    ("vertex_ai/veo-3.1-fast-generate-preview:1080p", "video_ms", "0.12"),
    ("vertex_ai/veo-3.1-generate-001", "video_ms", "0.4"),
    ("vertex_ai/veo-3.1-generate-preview", "video_ms", "0.4"),
    ("vertex_ai/veo-3.1-lite-generate-001", "video_ms", "0.05"),
    ("vertex_ai/veo-3.1-lite-generate-001:1080p", "video_ms", "0.08"),
)  # fmt: skip


def units(name: str) -> dict[str, int]:
    """Pico-dollars by unit of a `PROVIDER/MODEL` name; empty when it is not in the table.

    >>> units("openai/sora-2"), units("nobody/nothing")
    ({'video_ms': 100000000}, {})
    """
    return {unit: picousd_per_unit(Decimal(dollars), unit) for model, unit, dollars in _ROWS if model == name}
