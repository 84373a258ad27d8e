"""Makes src/headrace/engines/golden_clip.opus, the recording that speech-to-text models are asked about.

    python bench/golden_clip.py

eSpeak NG says one sentence; the file is the same for the same versions of eSpeak NG and of libopus.
"""

from pathlib import Path

import espeakng_loader

from headrace.engines.golden_speech import CLIP
from headrace.engines.runners.espeak_library import RATE_NORMAL, Library
from headrace.engines.runners.sound import encoded

SENTENCE = "The quick brown fox jumps over the lazy dog. Good morning, how are you today?"


def main() -> None:
    library = Library(espeakng_loader.get_library_path(), espeakng_loader.get_data_path())
    samples = library.speak(SENTENCE, "en-us", RATE_NORMAL, lambda: True)
    Path(CLIP).write_bytes(encoded(samples, library.rate, 1.0, "opus"))
    print(f"{CLIP}: {len(samples) / library.rate:.2f} s, {CLIP.stat().st_size} bytes")


if __name__ == "__main__":
    main()
