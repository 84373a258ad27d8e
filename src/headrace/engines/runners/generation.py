"""OpenVINO's continuous batching behind asyncio: requests join and leave between two steps.

The pipeline's step holds Python's lock for as long as it computes (measured: no other thread runs meanwhile), so it
is called in the event loop itself; a thread would add hand-offs and gain nothing. Between steps the loop reads and
writes sockets. One object a replica.
"""

import asyncio
import os
import traceback
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import openvino
import openvino_genai as genai

from headrace.engines.runners.pieces import Vocabulary
from headrace.errors import Invalid

_BLOCK_TOKENS: Final = 32  # of the CPU's paged cache
_SPARE_BLOCKS: Final = 8
_TURNS_A_STEP: Final = 4  # of the event loop: data is read, a request is made of it, it joins the next step
_BROKEN: Final = 70  # exit status
_FINISHED: Final = {genai.GenerationFinishReason.STOP: "stop", genai.GenerationFinishReason.LENGTH: "length"}


Found = tuple[int, list[int], str]  # which choice, its new tokens, and with the last of them why it ended


@dataclass(slots=True, eq=False)
class Job:
    """One sequence. What is found goes to `out` under the number `index`."""

    handle: Any
    index: int
    out: "asyncio.Queue[Found]"
    reason: str = ""


class Generator:
    """`tokenizer` and `vocabulary` are the model's own. `running` counts sequences, `slots` of which share a step."""

    def __init__(self, weights: str, slots: int, context: int, threads: int) -> None:
        schedule = genai.SchedulerConfig()
        schedule.num_kv_blocks = slots * -(-context // _BLOCK_TOKENS) + _SPARE_BLOCKS
        schedule.max_num_seqs = slots
        schedule.enable_prefix_caching = True
        schedule.dynamic_split_fuse = True
        # Pinned threads of two replicas would sit on the same cores.
        properties = {"INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False, "ENABLE_MMAP": True}
        self._pipeline = genai.ContinuousBatchingPipeline(weights, schedule, "CPU", properties)
        self.tokenizer = self._pipeline.get_tokenizer()
        self.slots = slots
        self.vocabulary = Vocabulary(*self._vocabulary())
        self._jobs: set[Job] = set()
        self._next = 0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> int:
        """Sequences that are being written or wait for it."""
        return len(self._jobs)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, special tokens written out in it included, none added."""
        found: list[int] = self.tokenizer.encode(text, add_special_tokens=False).input_ids.data[0].tolist()
        return found

    def chat_prompt(self, messages: list[dict[str, Any]]) -> str:
        """The model's own template around the messages. Raises Invalid when it refuses them."""
        try:
            return str(self.tokenizer.apply_chat_template(messages, add_generation_prompt=True))
        except RuntimeError as error:
            raise Invalid("the model's chat template does not take these messages", param="messages") from error

    def start(self, tokens: list[int], settings: Any, index: int, out: "asyncio.Queue[Found]") -> Job:
        """Begin a sequence with the next step. Raises Invalid when the engine refuses the settings."""
        if self._task is None:
            self._task = asyncio.ensure_future(self._work())
        self._next += 1
        try:
            handle = self._pipeline.add_request(self._next, openvino.Tensor(np.array([tokens], np.int64)), settings)
        except RuntimeError as error:
            raise Invalid("the engine does not take this request; check its JSON schema and sampling values") from error
        job = Job(handle, index, out)
        self._jobs.add(job)
        self._wake.set()
        return job

    def stop(self, job: Job) -> None:
        """End a sequence that is not wanted any longer; its place is free after the step that runs."""
        if not job.reason:
            job.reason = "stop"
            job.handle.cancel()
        self._jobs.discard(job)

    async def _work(self) -> None:
        while True:
            if not self._pipeline.has_non_finished_requests():
                self._wake.clear()
                await self._wake.wait()
            try:
                self._pipeline.step()
            except RuntimeError:  # the pipeline is not to be trusted after this: a new process is
                traceback.print_exc()
                os._exit(_BROKEN)
            for job in list(self._jobs):
                _deliver(job)
                if job.reason:
                    self._jobs.discard(job)
            for _ in range(_TURNS_A_STEP):
                await asyncio.sleep(0)

    def _vocabulary(self) -> tuple[dict[bytes, int], Any, set[int]]:
        tokens = self.tokenizer.get_vocab()
        marked = [number for name, number in tokens.items() if name[:1] == b"<" and name[-1:] == b">"]
        special = {number for number in marked if not self.tokenizer.decode([number], skip_special_tokens=True)}
        special.add(self.tokenizer.get_eos_token_id())
        return tokens, self.encode, special


def _deliver(job: Job) -> None:
    """Pass on what a sequence has got since the last step."""
    while not job.reason and job.handle.can_read():
        for output in job.handle.read().values():
            job.reason = _FINISHED.get(output.finish_reason, "")
            job.out.put_nowait((job.index, list(output.generated_ids), job.reason))
    if not job.reason and job.handle.get_status() != genai.GenerationStatus.RUNNING:
        job.reason = "length"  # dropped for want of cache: what is there is all there will be
        job.out.put_nowait((job.index, [], job.reason))
