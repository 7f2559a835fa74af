"""What is done to keys and values on their way into the cache, and to what meets them.

All tensors hold BF16 values in float32, keys after the rotation: K and V (B, n, kv_heads, head_dim),
queries and outputs (B, n, kv_heads, group, head_dim).
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from npuvp.accuracy.conversions import bf16, factors, fold, normalise, round_trip
from npuvp.accuracy.schemes import Scheme

__all__ = ["Pair", "Treatment", "hadamard"]

Pair = tuple[Tensor, Tensor]


def hadamard(size: int) -> Tensor:
    """Sylvester's Hadamard matrix of +-1, (size, size); size is a power of two."""
    matrix = torch.ones(1, 1)
    while len(matrix) < size:
        matrix = torch.cat(
            [torch.cat([matrix, matrix], dim=1), torch.cat([matrix, -matrix], dim=1)]
        )
    return matrix


@dataclass
class Treatment:
    """One scheme at work on one generation.

    Attributes:
        scheme: Which.
        block: Channels that share a scale.
        head_dim: Channels of a head.
        fixed: Per layer the factors of K and V, (1, 1, kv_heads, head_dim), of a static scheme.
        taken: Likewise those of the last warm pass, (B, 1, kv_heads, head_dim), with BAOS.
    """

    scheme: Scheme
    block: int
    head_dim: int
    fixed: list[Pair] = field(default_factory=list)
    taken: dict[int, Pair] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.scheme.method == "rotation":
            self._turn = hadamard(self.head_dim)

    def warm(self, layer: int, k: Tensor, v: Tensor) -> None:
        """Takes the factors of a warm pass from all its rows."""
        if self.scheme.method == "baos":
            self.taken[layer] = factors(k, self.scheme.cache), factors(v, self.scheme.cache)

    def _factors(self, layer: int) -> Pair | None:
        if self.scheme.method == "baos":
            return self.taken[layer]
        return self.fixed[layer] if self.scheme.method == "static" else None

    def stored(self, layer: int, k: Tensor, v: Tensor) -> Pair:
        """What is read back of rows that were put into the cache."""
        if not self.scheme.quantised:
            return k, v
        scale = self._factors(layer)
        if scale is not None:
            k, v = normalise(k, scale[0]), normalise(v, scale[1])
        elif self.scheme.method == "rotation":
            k = bf16(k @ self._turn)
        element = self.scheme.element
        return bf16(round_trip(k, element, self.block)), bf16(round_trip(v, element, self.block))

    def query(self, layer: int, q: Tensor) -> Tensor:
        """Queries as they meet keys from the cache."""
        scale = self._factors(layer)
        if scale is not None:
            return fold(q, scale[0].unsqueeze(3))
        if self.scheme.method == "rotation":
            # The matrix of +-1 is sqrt(head_dim) times a rotation; K keeps it, Q takes both back.
            return bf16((q @ self._turn) / self.head_dim)
        return q

    def output(self, layer: int, o: Tensor) -> Tensor:
        """Outputs that were summed over values from the cache."""
        scale = self._factors(layer)
        return o if scale is None else fold(o, scale[1].unsqueeze(3))
