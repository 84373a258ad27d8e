"""How long an engine's steps take: from a table of accelerators, or from what was measured. Pure arithmetic.

Two kinds that answer the same two questions, how long a prompt takes and how long a step of a batch takes. `Roofline`
knows a model's shape and a device's figures, and is right before the first request. `Measured` is what the work model
learned from a replica's own requests, and takes its place as soon as there is one.
"""

from dataclasses import dataclass
from typing import Final, Protocol

from headrace.economics.work import WorkModel
from headrace.specs import accelerators
from headrace.specs.accelerators import Accelerator
from headrace.specs.catalog import ModelSpec, PoolSpec
from headrace.specs.shapes import Shape

STEP_NS: Final = 800_000  # of an engine's own work beside each step: scheduling, sampling, sending
EXCHANGE_NS: Final = 10_000  # of one exchange between the devices of a group, two a layer
LINK_PPM: Final = 400_000  # of a link's figure that exchanges reach
SHARPNESS: Final = 4.0  # of the bend between compute-bound and bandwidth-bound
TYPICAL_BATCH: Final = 8  # at which two devices are compared where only one was measured
TYPICAL_CONTEXT: Final = 512
USABLE_PPM: Final = 900_000  # of a device's memory that an engine may plan with
RESERVE_BYTES: Final = 3_500_000_000  # of it for activations, graphs and the runtime
_MILLION: Final = 1_000_000


class Performance(Protocol):
    """Time of the two kinds of step, in nanoseconds."""

    @property
    def kv_tokens(self) -> int:
        """How many tokens of context fit at once."""
        ...

    @property
    def first_ns(self) -> int:
        """What passes beside the prompt until its first token is seen, and takes nobody's time."""
        ...

    def prefill_ns(self, tokens: int, cached: int = 0) -> float:
        """A prompt of `tokens`, of which `cached` are in the prefix cache."""
        ...

    def step_ns(self, batch: float, context: float) -> float:
        """One output token each for `batch` sequences whose context is `context` tokens on average."""
        ...


@dataclass(frozen=True, slots=True)
class Roofline:
    """One replica of a model on `devices` of one kind, tensor-parallel.

    Formula: t = (c^p + m^p)^(1/p) + L t_layer + t_step + 2 L (t_x + 2 (d-1)/d n h w / link), with compute time
        c = (2 P n + 4 L H D n ctx) / (d F e_f) and memory time m = (W + ctx_sum kv) / (d B e_b).
    Units: c, m, t in seconds; n tokens in the step, ctx their context, P active weights, W bytes of weights read, kv
        bytes a token of KV cache, F operations/s, B bytes/s, e_f and e_b the shares reached, p = 4.
    Source: roofline (Williams, Waterman, Patterson 2009) with a smooth bend; fitted to 78 step times measured for
        AIConfigurator 0.12 (vLLM on A100, H100, H200, B200, L40S); see docs/simulate.md for its error.
    Assumes: nothing else runs on the devices; a mixture of experts reads the experts of its batch, W min(1, n A / P).
    Example: a 32B model on one H200 reads 65.6 GB of weights a step, 17 ms.
    """

    shape: Shape
    device: Accelerator
    devices: int = 1

    @property
    def kv_tokens(self) -> int:
        """Tokens of KV cache that fit beside the weights; 0 when the weights do not."""
        usable = self.device.memory_bytes * USABLE_PPM // _MILLION - RESERVE_BYTES
        return max(0, self.devices * usable - self.shape.weight_bytes) // self.shape.kv_bytes

    @property
    def first_ns(self) -> int:
        """Nothing: the way to the device is not in a table of devices."""
        return 0

    def prefill_ns(self, tokens: int, cached: int = 0) -> float:
        """A prompt, alone in its step."""
        fresh = max(1, tokens - cached)
        return self._ns(fresh, cached + fresh / 2, tokens)

    def step_ns(self, batch: float, context: float) -> float:
        """One output token for each of a batch."""
        return self._ns(batch, context, batch * context)

    def _ns(self, tokens: float, context: float, kept: float) -> float:
        """A step of `tokens` that each look at `context` tokens, with `kept` tokens of KV cache read."""
        shape, device, count = self.shape, self.device, self.devices
        flops_peak = device.flops_8 if shape.weight_bits == 8 and device.flops_8 else device.flops_16
        attention = 4 * shape.layers * shape.heads * shape.head_dim * context
        flops = tokens * (2 * shape.active_params + attention)
        compute = flops / (count * flops_peak * device.compute_ppm / _MILLION)
        read = shape.weight_bytes * min(1.0, max(1.0, tokens) * shape.active_params / shape.params)
        memory = (read + kept * shape.kv_bytes) / (count * device.bandwidth * device.bandwidth_ppm / _MILLION)
        seconds: float = (compute**SHARPNESS + memory**SHARPNESS) ** (1 / SHARPNESS)
        fixed = float(shape.layers * device.layer_ns + STEP_NS)
        if count > 1:
            moved = 2 * (count - 1) / count * tokens * shape.hidden * 2
            exchange = EXCHANGE_NS + moved / (device.link * LINK_PPM / _MILLION) * 1e9
            fixed += 2 * shape.layers * exchange
        return seconds * 1e9 + fixed


@dataclass(frozen=True, slots=True)
class Measured:
    """What a replica's own requests taught: a fixed part of each step, and own work of each token.

    `kv_tokens` is slots times context, since nothing else is known to bound it. An engine without tokens takes its
    `item_ns` as a prompt of one token.

    >>> Measured(WorkModel(prefill_ns=2_000, decode_ns=6_000_000, fixed_ns=10_000_000), 8 * 2048).step_ns(4, 100)
    34000000.0
    """

    work: WorkModel
    kv_tokens: int

    @property
    def first_ns(self) -> int:
        """As was seen of streams that were alone."""
        return self.work.first_ns

    def prefill_ns(self, tokens: int, cached: int = 0) -> float:
        """A prompt: its fixed part, and its own work, token by token."""
        fresh = max(1, tokens - cached)
        return self.work.reads_ns(fresh, cached) if self.work.prefill_ns else float(fresh * self.work.item_ns)

    def step_ns(self, batch: float, context: float) -> float:
        """One output token each: the fixed part once, own work of each."""
        return self.work.step_ns(batch, context)


def foretold(model: ModelSpec, pool: PoolSpec) -> Roofline | None:
    """How a replica of the model runs on a device, instance or part of one of that pool; None where nobody knows.

    A part of a device is taken to have its part of arithmetic and bandwidth, which is what is left to it when its
    neighbours are as busy.
    """
    device = accelerators.named(pool.accelerator)
    if device is None or model.shape is None:
        return None
    if pool.mig:
        profile = next((one for one in device.partitions if one.name == pool.mig), None)
        return None if profile is None else Roofline(model.shape, accelerators.cut(device, profile))
    if pool.grain_bytes:
        held = min(pool.memory_bytes, -(-model.memory_bytes // pool.grain_bytes) * pool.grain_bytes)
        return Roofline(model.shape, accelerators.part(device, held, pool.memory_bytes))
    return Roofline(model.shape, device)


def holds_tokens(model: ModelSpec, pool: PoolSpec) -> int:
    """The longest request, its answer included, that a replica has room for in that pool, by the table; 0 where that is
    no less than the model's context, or nobody knows.
    """
    table = foretold(model, pool)
    if table is None or not 0 < table.kv_tokens < model.engine.context_tokens:
        return 0
    return table.kv_tokens


@dataclass(frozen=True, slots=True)
class Scaled:
    """Another pool's speed, `factor` times as slow: what is supposed of a pool where nothing was measured yet."""

    of: Performance
    factor: float
    kv_tokens: int

    @property
    def first_ns(self) -> int:
        """As there: the way to the replica is no faster for its device."""
        return self.of.first_ns

    def prefill_ns(self, tokens: int, cached: int = 0) -> float:
        """A prompt."""
        return self.of.prefill_ns(tokens, cached) * self.factor

    def step_ns(self, batch: float, context: float) -> float:
        """One output token for each of a batch."""
        return self.of.step_ns(batch, context) * self.factor


def expected(model: ModelSpec, pool: PoolSpec, known: tuple[PoolSpec, Performance] | None) -> Performance | None:
    """How a model will run on a pool that has not served it; None where nobody can tell.

    `known` is another pool and what was measured there. Foretold by the table, as much slower or faster as the other
    pool turned out to be; a CPU pool by the threads a replica gets.
    """
    table = foretold(model, pool)
    if known is None:
        return table
    other, measured = known
    if table is not None:
        there = foretold(model, other)
        if there is None:
            return table
        off = measured.step_ns(TYPICAL_BATCH, TYPICAL_CONTEXT) / there.step_ns(TYPICAL_BATCH, TYPICAL_CONTEXT)
        return Scaled(table, off, table.kv_tokens)
    if pool.accelerator != other.accelerator or accelerators.named(pool.accelerator) is not None:
        return None
    return Scaled(measured, threads(model, other.cpus) / threads(model, pool.cpus), measured.kv_tokens)


def threads(model: ModelSpec, cpus: int) -> int:
    """How many CPU threads a replica has on a device of so many; a device that tells none bounds none."""
    return max(1, min(model.engine.threads, cpus or model.engine.threads))


def fits(shape: Shape, device: Accelerator, devices: int, context_tokens: int) -> bool:
    """Whether one request of that length fits beside the weights.

    >>> from headrace.specs import accelerators, shapes
    >>> h100 = accelerators.TABLE["nvidia-h100"]
    >>> [fits(shapes.KNOWN["llama-3.1-70b"], h100, devices, 8192) for devices in (1, 2, 4)]
    [False, False, True]
    """
    return Roofline(shape, device, devices).kv_tokens >= context_tokens
