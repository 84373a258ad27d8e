"""The painter's network: words and a noisy picture in, the clean picture out.

A transformer reads one sequence: the words, three colours it is to choose, and the picture in patches of 16x16 pixels.
It answers with the three colours (background and two layers) and, for each pixel, how far each layer covers it; the
picture is composed of these. So flat colours are flat and edges are sharp after minutes of training on one core.
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

LAYERS = 2


@dataclass(frozen=True)
class Sizes:
    """What the network is made of. `side` and `patch` are in pixels, `length` in words."""

    tokens: int
    length: int = 12
    side: int = 64
    patch: int = 16
    width: int = 192
    heads: int = 6
    depth: int = 4

    def plain(self) -> dict[str, int]:
        """As JSON."""
        return asdict(self)


class Block(nn.Module):
    """Transformer block, normalised before."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        deep = width // self.heads
        q, k, v = self.qkv(self.first(x)).view(batch, length, 3, self.heads, deep).permute(2, 0, 3, 1, 4)
        # Plain products: at eighty tokens they are several times as fast on a CPU as the fused kernel.
        weights = torch.softmax(q @ k.transpose(-1, -2) * deep**-0.5, -1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(batch, length, width))
        return x + self.down(functional.relu(self.up(self.second(x))))


class Painter(nn.Module):
    """Predicts the clean picture of a mixture (1-t) picture + t noise. Pictures are in [-1, 1]."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        width, patches = sizes.width, (sizes.side // sizes.patch) ** 2
        self.words = nn.Embedding(sizes.tokens + 1, width)
        self.places = nn.Parameter(torch.randn(sizes.length + LAYERS + 1 + patches, width) * 0.3)
        self.time = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))
        self.read = nn.Linear(3 * sizes.patch**2, width)
        self.blocks = nn.ModuleList(Block(width, sizes.heads) for _ in range(sizes.depth))
        self.last = nn.LayerNorm(width)
        self.colour = nn.Linear(width, 3)
        self.cover = nn.Linear(width, LAYERS * sizes.patch**2)
        for block in self.blocks:
            for layer in (block.out, block.down):
                nn.init.normal_(layer.weight, std=0.02 / sizes.depth**0.5)

    def layers(self, picture: Tensor, time: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """Colours [batch, 3, 3] in RGB, background first; logits of each layer's cover [batch, 2, side, side]."""
        sizes = self.sizes
        patches = self.read(functional.pixel_unshuffle(picture, sizes.patch).flatten(2).transpose(1, 2))
        said = self.words(words)
        x = torch.cat([said, said.new_zeros(1, 1, 1).expand(len(said), LAYERS + 1, sizes.width), patches], 1)
        x = x + self.places + self.time(_waves(time))[:, None]
        for block in self.blocks:
            x = block(x)
        x, after = self.last(x), sizes.length + LAYERS + 1
        colours = self.colour(x[:, sizes.length : after])
        across = sizes.side // sizes.patch
        covers = self.cover(x[:, after:]).transpose(1, 2).reshape(len(x), -1, across, across)
        return colours, functional.pixel_shuffle(covers, sizes.patch)

    def forward(self, picture: Tensor, time: Tensor, words: Tensor) -> Tensor:
        return compose(*self.layers(picture, time, words))


def compose(colours: Tensor, covers: Tensor) -> Tensor:
    """The picture of a background and the layers upon it."""
    picture = colours[:, 0, :, None, None]
    for layer in range(LAYERS):
        picture = torch.lerp(picture, colours[:, layer + 1, :, None, None], covers[:, layer, None].sigmoid())
    return picture


def _waves(time: Tensor) -> Tensor:
    """Time in [0, 1] as 64 sines and cosines."""
    rates = torch.exp(torch.linspace(0, 6.2, 32, device=time.device))
    angles = time[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)
