"""The shape of a language model: what its size in memory and its work follow from. A few are known by name.

Facts from each model's published configuration.
"""

from typing import Final

import msgspec


class Shape(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`params` weights, `active` of them used for a token (fewer in a mixture of experts; 0 means all).

    `heads` attend, `kv_heads` are kept in the KV cache, `head_dim` numbers each. `weight_bits` and `kv_bits` are what
    one number takes.
    """

    params: int
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    active: int = 0
    weight_bits: int = 16
    kv_bits: int = 16

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights.

        >>> KNOWN["llama-3.1-8b"].weight_bytes
        16060000000
        """
        return self.params * self.weight_bits // 8

    @property
    def kv_bytes(self) -> int:
        """Bytes the KV cache takes for one token: two numbers a layer, head and dimension.

        >>> KNOWN["llama-3.1-8b"].kv_bytes
        131072
        """
        return 2 * self.layers * self.kv_heads * self.head_dim * self.kv_bits // 8

    @property
    def active_params(self) -> int:
        """Weights that one token goes through."""
        return self.active or self.params


def _shape(millions: int, layers: int, hidden: int, heads: int, kv_heads: int, head_dim: int, active: int = 0) -> Shape:
    return Shape(
        params=millions * 10**6,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        active=active * 10**6,
    )


KNOWN: Final = {
    "smollm2-135m": _shape(135, 30, 576, 9, 3, 64),
    "qwen3-0.6b": _shape(600, 28, 1024, 16, 8, 128),
    "llama-3.1-8b": _shape(8030, 32, 4096, 32, 8, 128),
    "qwen3-32b": _shape(32_800, 64, 5120, 64, 8, 128),
    "qwen3-30b-a3b": _shape(30_500, 48, 2048, 32, 4, 128, 3300),
    "llama-3.1-70b": _shape(70_600, 80, 8192, 64, 8, 128),
}
