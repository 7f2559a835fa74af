"""A model's forward calls in PyTorch, rounded where the firmware rounds.

Values between operations are BF16, sums and scalars float32; every elementwise operation of the vector
unit is one float32 operation whose result is rounded once. What differs from the machine is the order
of the sums in matrix products (and the last bit of exp), so a token can differ only where two
candidates are that close.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from npuvp.accuracy.caches import Pair, Treatment
from npuvp.accuracy.conversions import bf16, round_trip
from npuvp.accuracy.schemes import Precision
from npuvp.generation.calls import Floats, ForwardCall
from npuvp.model.checkpoint import Checkpoint

__all__ = ["TorchModel", "Weights"]

Observer = Callable[[ForwardCall, int, Tensor, Tensor], None]


class Weights:
    """A checkpoint's tensors in float32, read once and shared by all schemes.

    Args:
        checkpoint: Specification and weights.
        activations: MX format of what enters products with weights, or "bf16".
        activation_block: Values that share a scale there.
    """

    def __init__(
        self, checkpoint: Checkpoint, activations: str = "bf16", activation_block: int = 32
    ):
        self.spec = checkpoint.spec
        self.activations = activations
        self.activation_block = activation_block
        self._tensors = {
            tensor.key: bf16(torch.from_numpy(checkpoint.read(tensor).astype(np.float32)))
            for tensor in checkpoint.spec.tensors()
        }

    def __call__(self, role: str, layer: int | None = None, expert: int | None = None) -> Tensor:
        """A tensor by role; with a tied head the embedding for ``head``."""
        if role == "head" and self.spec.tied_head:
            role = "embedding"
        return self._tensors[role, layer, expert]


class TorchModel:
    """Carries out forward calls (`npuvp.generation.calls.Forward`).

    Args:
        weights: Of the model.
        treatment: What is done to the cache.
        precision: Of the logits: ``fp64`` and ``fp32`` leave them in float32, ``mxfp8`` rounds them
            to MXFP8 (E4M3, blocks of 32 tokens), all others to BF16.
        observer: Called with call, layer, K after rotation and V of every pass.
    """

    def __init__(
        self,
        weights: Weights,
        treatment: Treatment,
        precision: Precision = "machine",
        observer: Observer | None = None,
    ):
        self.weights = weights
        self.spec = weights.spec
        self.treatment = treatment
        self.precision = precision
        self.observer = observer
        self.kept: list[Pair] = []
        self.held: list[Pair] = []
        half = self.spec.rotary_dim // 2
        exponent = np.arange(0, 2 * half, 2, dtype=np.float32) / np.float32(2 * half)
        inverse = np.float32(1) / np.power(np.float32(self.spec.rope_theta), exponent)
        self._inverse: NDArray[np.float32] = inverse.astype(np.float32)

    def __call__(self, call: ForwardCall) -> Floats:
        """Logits of the wanted output rows, float32, shape (R, high - low, V)."""
        with torch.inference_mode():
            logits: Floats = self._forward(call).numpy()
        return logits

    def _forward(self, call: ForwardCall) -> Tensor:
        spec = self.spec
        x = self.weights("embedding")[torch.from_numpy(call.tokens.astype(np.int64))]
        rotation = self._rotation(call.positions)
        hidden_keys = self._hidden(call)
        kept: list[Pair] = []
        held: list[Pair] = []
        for layer in range(spec.layers):
            n = self._norm(x, self.weights("attn_norm", layer))
            q, k, v = self._qkv(n, layer, rotation)
            if self.observer is not None:
                self.observer(call, layer, k, v)
            o = self._attend(call, layer, q, k, v, hidden_keys, kept, held)
            x = bf16(x + self._linear(o, "o", layer))
            m = self._norm(x, self.weights("mlp_norm", layer))
            x = bf16(x + (self._mlp(m, layer) if spec.moe is None else self._moe(m, layer)))
        if kept or (call.kind == "full" and not call.keep):
            self.kept = kept
        if call.kind == "commit":
            self.held = []
        elif held:
            self.held = held
        low, high = (row - call.start for row in call.logits)
        x = self._norm(x[:, low:high], self.weights("final_norm"))
        return self._logits(x)

    def _logits(self, x: Tensor) -> Tensor:
        logits = self._activations(x) @ self.weights("head").T
        if self.precision in ("fp64", "fp32"):
            return logits
        logits = bf16(logits)
        if self.precision == "mxfp8":
            vocab = logits.shape[-1]
            padded = torch.nn.functional.pad(logits, (0, -vocab % 32))
            logits = bf16(round_trip(padded, "mxfp8_e4m3", 32))[..., :vocab]
        return logits

    def _attend(
        self,
        call: ForwardCall,
        layer: int,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        hidden: Tensor | None,
        kept: list[Pair],
        held: list[Pair],
    ) -> Tensor:
        """Attention of one layer; appends what the pass keeps and holds."""
        cache = self.treatment
        if call.kind == "full":
            o = self._attention(q, k, v, hidden)
            if call.keep:
                cache.warm(layer, k, v)
                keys, values = cache.stored(layer, k, v)
                kept.append((keys[:, : call.keep], values[:, : call.keep]))
            return o.flatten(2)
        fresh = cache.stored(layer, k, v)
        if call.kind == "refine_dual":
            keys, values = self._overwritten(self.kept[layer], fresh, call.start)
        else:
            own = fresh
            if call.kind == "sub_block":
                own = self._overwritten(self.held[layer], fresh, call.offset)
            if call.kind == "sub_block" or (call.kind == "block" and call.keep):
                held.append(own)
            keys, values = own
            if self.kept:
                keys = torch.cat([self.kept[layer][0], keys], dim=1)
                values = torch.cat([self.kept[layer][1], values], dim=1)
        if call.kind in ("refine_dual", "prefill", "commit"):
            kept.append((keys, values))
        if call.kind == "prefill":
            return self._attention(q, k, v, hidden).flatten(2)
        o = self._attention(cache.query(layer, q), keys, values, hidden)
        return cache.output(layer, o).flatten(2)

    @staticmethod
    def _overwritten(old: Pair, new: Pair, first: int) -> Pair:
        keys, values = old[0].clone(), old[1].clone()
        keys[:, first : first + new[0].shape[1]] = new[0]
        values[:, first : first + new[1].shape[1]] = new[1]
        return keys, values

    def _linear(self, x: Tensor, role: str, layer: int, expert: int | None = None) -> Tensor:
        return bf16(self._activations(x) @ self.weights(role, layer, expert).T)

    def _activations(self, x: Tensor) -> Tensor:
        element = self.weights.activations
        if element == "bf16":
            return x
        return bf16(round_trip(x, element, self.weights.activation_block))

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        mean = bf16(x * x).sum(dim=-1, keepdim=True) * (1.0 / x.shape[-1])
        scale = 1.0 / torch.sqrt(mean + self.spec.norm_eps)
        return bf16(bf16(x * scale) * weight)

    def _rotation(self, positions: NDArray[np.int32]) -> Pair:
        """Cosine and sine rounded to BF16, (R, n, 1, rotary_dim / 2)."""
        angle = positions[..., None, None].astype(np.float32) * self._inverse
        return bf16(torch.from_numpy(np.cos(angle))), bf16(torch.from_numpy(np.sin(angle)))

    def _rotate(self, x: Tensor, rotation: Pair) -> Tensor:
        cos, sin = rotation
        half = self.spec.rotary_dim // 2
        low, high, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
        return torch.cat(
            [
                bf16(bf16(low * cos) - bf16(high * sin)),
                bf16(bf16(high * cos) + bf16(low * sin)),
                rest,
            ],
            dim=-1,
        )

    def _qkv(self, n: Tensor, layer: int, rotation: Pair) -> tuple[Tensor, Tensor, Tensor]:
        spec = self.spec
        parts = []
        for role, heads in (("q", spec.heads), ("k", spec.kv_heads), ("v", spec.kv_heads)):
            y = self._linear(n, role, layer)
            if spec.qkv_bias:
                y = bf16(y + self.weights(f"{role}_bias", layer))
            y = y.view(*n.shape[:2], heads, spec.head_dim)
            if role != "v":
                if spec.qk_norm:
                    y = self._norm(y, self.weights(f"{role}_norm", layer))
                y = self._rotate(y, rotation)
            parts.append(y)
        q = parts[0].view(*n.shape[:2], spec.kv_heads, spec.group, spec.head_dim)
        return q, parts[1], parts[2]

    @staticmethod
    def _hidden(call: ForwardCall) -> Tensor | None:
        """True where a key is not seen, broadcasting to (R, n, keys); None: all are seen."""
        hidden = None if call.key_mask is None else ~call.key_mask[:, None, :]
        if call.kind == "prefill":
            block = np.arange(call.length) // call.block_length
            causal = (block[:, None] < block[None, :])[None]
            hidden = causal if hidden is None else hidden | causal
        return None if hidden is None else torch.from_numpy(hidden)

    def _attention(self, q: Tensor, k: Tensor, v: Tensor, hidden: Tensor | None) -> Tensor:
        """Outputs (R, n, kv_heads, group, head_dim)."""
        spec = self.spec
        rows, n = q.shape[:2]
        # One product per KV head: its queries (R, kv_heads, group * n, head_dim).
        grouped = q.permute(0, 2, 3, 1, 4).reshape(rows, spec.kv_heads, -1, spec.head_dim)
        scores = bf16(grouped @ k.permute(0, 2, 3, 1))
        if hidden is not None:
            tiled = hidden.expand(rows, n, -1)[:, None].repeat(1, 1, spec.group, 1)
            scores = scores.masked_fill(tiled, -torch.inf)
        scores = bf16(scores - scores.amax(dim=-1, keepdim=True))
        p = bf16(torch.exp(bf16(scores * float(np.float32(spec.head_dim**-0.5)))))
        p = bf16(p * (1.0 / p.sum(dim=-1, keepdim=True)))
        o = bf16(p @ v.transpose(1, 2))
        o = o.view(rows, spec.kv_heads, spec.group, n, spec.head_dim)
        return o.permute(0, 3, 1, 2, 4)

    def _gated(self, gate: Tensor, up: Tensor) -> Tensor:
        # The vector unit clamps the argument of exp to +-88, so nothing overflows.
        grown = bf16(torch.exp((-gate).clamp(-88, 88)))
        return bf16(bf16(gate * bf16(1.0 / bf16(grown + 1.0))) * up)

    def _mlp(self, m: Tensor, layer: int) -> Tensor:
        gated = self._gated(self._linear(m, "gate", layer), self._linear(m, "up", layer))
        return self._linear(gated, "down", layer)

    def _moe(self, m: Tensor, layer: int) -> Tensor:
        moe = self.spec.moe
        assert moe is not None
        flat = m.reshape(-1, m.shape[-1])
        router = bf16(flat @ self.weights("router", layer).T)
        weights, chosen = torch.softmax(router, dim=-1).topk(moe.top_k, dim=-1)
        total = torch.zeros_like(flat)
        for expert in range(moe.experts):
            rows, place = (chosen == expert).nonzero(as_tuple=True)
            if not len(rows):
                continue
            x = flat[rows]
            gated = self._gated(
                self._linear(x, "expert_gate", layer, expert),
                self._linear(x, "expert_up", layer, expert),
            )
            y = self._linear(gated, "expert_down", layer, expert)
            total[rows] += bf16(y * bf16(weights[rows, place, None]))
        return bf16(total).reshape(m.shape)
