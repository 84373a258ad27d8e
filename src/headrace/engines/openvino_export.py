"""Exports a GGUF file to OpenVINO's own form beside it: `python -m headrace.engines.openvino_export MODEL.gguf`.

Run by `prepare` of the openvino adapter. Reading GGUF costs 5 s and more at each start; what is written here loads in
about half of that.
"""

import sys
from typing import Final

_BLOCKS: Final = 8  # the pipeline is built only to be saved


def main() -> int:
    """Write openvino_model, openvino_tokenizer and openvino_detokenizer next to the file."""
    import openvino_genai

    path = sys.argv[1]
    openvino_genai.Tokenizer(path, enable_save_ov_model=True)
    schedule = openvino_genai.SchedulerConfig()
    schedule.num_kv_blocks = _BLOCKS
    openvino_genai.ContinuousBatchingPipeline(path, schedule, "CPU", {"enable_save_ov_model": True})
    return 0


if __name__ == "__main__":
    sys.exit(main())
