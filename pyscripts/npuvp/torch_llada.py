"""The LLaDA architecture in PyTorch (extra `accuracy`): to train and score small models.

Tensor names are the published ones (facts: LLaDA-8B, `model.transformer...`).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Llada", "Shape"]


@dataclass(frozen=True)
class Shape:
    """Dimensions of a model."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    mlp: int
    vocab: int
    rope_theta: float
    norm_eps: float

    @property
    def head_dim(self) -> int:
        """Channels of one head."""
        return self.hidden // self.heads


class _Norm(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape.hidden))
        self.eps = shape.norm_eps

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


class _Block(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        kv = shape.kv_heads * shape.head_dim
        self.attn_norm = _Norm(shape)
        self.q_proj = nn.Linear(shape.hidden, shape.hidden, bias=False)
        self.k_proj = nn.Linear(shape.hidden, kv, bias=False)
        self.v_proj = nn.Linear(shape.hidden, kv, bias=False)
        self.attn_out = nn.Linear(shape.hidden, shape.hidden, bias=False)
        self.ff_norm = _Norm(shape)
        self.ff_proj = nn.Linear(shape.hidden, shape.mlp, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.mlp, bias=False)
        self.ff_out = nn.Linear(shape.mlp, shape.hidden, bias=False)

    def _heads(self, x: Tensor, rotation: tuple[Tensor, Tensor] | None) -> Tensor:
        batch, length, _ = x.shape
        x = x.view(batch, length, -1, self.shape.head_dim).transpose(1, 2)
        if rotation is None:
            return x
        cos, sin = rotation
        low, high = x.chunk(2, dim=-1)
        return torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        batch, length, hidden = x.shape
        n = self.attn_norm(x)
        q = self._heads(self.q_proj(n), rotation)
        k = self._heads(self.k_proj(n), rotation)
        v = self._heads(self.v_proj(n), None)
        o = functional.scaled_dot_product_attention(
            q, k, v, enable_gqa=self.shape.kv_heads != self.shape.heads
        )
        x = x + self.attn_out(o.transpose(1, 2).reshape(batch, length, hidden))
        m = self.ff_norm(x)
        gated = functional.silu(self.ff_proj(m)) * self.up_proj(m)
        return x + self.ff_out(gated)


class _Transformer(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.wte = nn.Embedding(shape.vocab, shape.hidden)
        self.blocks = nn.ModuleList(_Block(shape) for _ in range(shape.layers))
        self.ln_f = _Norm(shape)
        self.ff_out = nn.Linear(shape.hidden, shape.vocab, bias=False)


class _Model(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.transformer = _Transformer(shape)


class Llada(nn.Module):
    """A masked-diffusion transformer with bidirectional attention.

    Args:
        shape: dimensions.
        seed: of the initial weights: normal, 0.02, projections into the residual stream scaled down
            by sqrt(2 * layers).
    """

    def __init__(self, shape: Shape, seed: int = 0):
        super().__init__()
        self.shape = shape
        self.model = _Model(shape)
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                into_stream = name.endswith("attn_out.weight") or (
                    ".blocks." in name and name.endswith("ff_out.weight")
                )
                scale = 0.02 / math.sqrt(2 * shape.layers) if into_stream else 0.02
                nn.init.normal_(parameter, std=scale, generator=generator)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (B, L, V) of tokens (B, L)."""
        transformer = self.model.transformer
        half = self.shape.head_dim // 2
        inverse = self.shape.rope_theta ** (-torch.arange(half, dtype=torch.float32) / half)
        angle = torch.arange(tokens.shape[1], dtype=torch.float32)[:, None] * inverse
        rotation = (angle.cos(), angle.sin())
        x = transformer.wte(tokens)
        for block in transformer.blocks:
            x = block(x, rotation)
        return transformer.ff_out(transformer.ln_f(x))
