"""The models' forward pass in NumPy, with the rounding of the published code (facts 5).

This is what any implementation is compared with through tokens; it does not prescribe the order of
sums (that is the golden model's part).
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from npuvp.generation import GenerationResult, generate
from npuvp.generation.calls import Bools, Floats, ForwardCall
from npuvp.model.checkpoint import Checkpoint
from npuvp.plan import GenerationPlan

__all__ = ["Precision", "ReferenceModel", "reference_generate"]

Precision = Literal["bf16", "float32"]

_CACHED_PARAMETERS = 200_000_000
"""Models up to this size keep their weights in float32 between calls."""


def _to_bf16(x: Floats) -> Floats:
    """Rounds finite float32 to the nearest BF16 number, ties to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    even = (bits >> np.uint32(16)) & np.uint32(1)
    rounded = (bits + np.uint32(0x7FFF) + even) & np.uint32(0xFFFF0000)
    return rounded.view(np.float32)


class ReferenceModel:
    """Carries out forward calls.

    Args:
        checkpoint: Specification and weights.
        precision: ``bf16``: values between operations are BF16, sums are float32; ``float32``:
            nothing is rounded below float32.

    Attributes:
        kept: Per layer the kept keys (after rotation) and values, each (R, rows, kv_heads,
            head_dim): canvas rows of masked diffusion, the cache of block diffusion.
        held: Likewise of the running block of block diffusion.
    """

    def __init__(self, checkpoint: Checkpoint, precision: Precision = "bf16"):
        if precision not in ("bf16", "float32"):
            raise ValueError(f"precision {precision!r}, allowed: bf16, float32")
        self.checkpoint = checkpoint
        self.spec = checkpoint.spec
        self.precision = precision
        self.kept: list[tuple[Floats, Floats]] = []
        self.held: list[tuple[Floats, Floats]] = []
        self._weights: dict[Any, Floats] | None = (
            {} if self.spec.parameters <= _CACHED_PARAMETERS else None
        )

    def __call__(self, call: ForwardCall) -> Floats:
        """Logits of the wanted output rows, float32, shape (R, high - low, V)."""
        spec = self.spec
        x = self._embed(call.tokens)
        rotation = self._rotation(call.positions)
        hidden_keys = self._hidden(call)
        kept: list[tuple[Floats, Floats]] = []
        held: list[tuple[Floats, Floats]] = []
        for layer in range(spec.layers):
            n = self._norm(x, self._weight("attn_norm", layer))
            q, k, v = self._qkv(n, layer, rotation)
            keys, values = self._attended(call, layer, k, v)
            if call.kind == "full" and call.keep:
                kept.append((k[:, : call.keep], v[:, : call.keep]))
            elif call.kind == "refine_dual" or call.kind in ("prefill", "commit"):
                kept.append((keys, values))
            elif call.kind == "block" and call.keep:
                held.append((k, v))
            elif call.kind == "sub_block":
                cached = self.kept[layer][0].shape[1] if self.kept else 0
                held.append((keys[:, cached:], values[:, cached:]))
            o = self._attention(q, keys, values, hidden_keys)
            x = self._round(x + self._linear(o, "o", layer))
            m = self._norm(x, self._weight("mlp_norm", layer))
            x = self._round(x + (self._mlp(m, layer) if spec.moe is None else self._moe(m, layer)))
        if kept or (call.kind == "full" and not call.keep):
            self.kept = kept
        if call.kind == "commit":
            self.held = []
        elif held:
            self.held = held
        low, high = (row - call.start for row in call.logits)
        x = self._norm(x[:, low:high], self._weight("final_norm"))
        return self._linear(x, "head", None)

    def _round(self, x: Floats) -> Floats:
        return _to_bf16(x) if self.precision == "bf16" else x

    def _weight(self, role: str, layer: int | None = None, expert: int | None = None) -> Floats:
        key = (role, layer, expert)
        if self._weights is not None and key in self._weights:
            return self._weights[key]
        value = self.checkpoint.tensor(role, layer, expert).astype(np.float32)
        value = self._round(value)
        if self._weights is not None:
            self._weights[key] = value
        return value

    def _embed(self, tokens: NDArray[np.int32]) -> Floats:
        if self._weights is not None:
            return self._weight("embedding")[tokens]
        result = np.empty((*tokens.shape, self.spec.hidden), np.float32)
        for token in np.unique(tokens):
            rows = slice(int(token), int(token) + 1)
            result[tokens == token] = self.checkpoint.tensor("embedding", rows=rows)[0]
        return self._round(result)

    def _linear(self, x: Floats, role: str, layer: int | None, expert: int | None = None) -> Floats:
        return self._round(x @ self._weight(role, layer, expert).T)

    def _norm(self, x: Floats, weight: Floats) -> Floats:
        mean = np.square(x).mean(axis=-1, keepdims=True, dtype=np.float32)
        scale: Floats = np.float32(1) / np.sqrt(mean + np.float32(self.spec.norm_eps))
        return self._round(self._round(x * scale) * weight)

    def _rotation(self, positions: NDArray[np.int32]) -> tuple[Floats, Floats]:
        """Cosine and sine, shape (R, n, 1, rotary_dim / 2)."""
        half = self.spec.rotary_dim // 2
        exponent = np.arange(0, 2 * half, 2, dtype=np.float32) / np.float32(2 * half)
        inverse = np.float32(1) / np.power(np.float32(self.spec.rope_theta), exponent)
        angle = positions[..., None, None].astype(np.float32) * inverse.astype(np.float32)
        cos, sin = np.cos(angle), np.sin(angle)
        if self.spec.rope_full_precision:
            return cos, sin
        return self._round(cos), self._round(sin)

    def _rotate(self, x: Floats, rotation: tuple[Floats, Floats]) -> Floats:
        cos, sin = rotation
        half = self.spec.rotary_dim // 2
        low, high, rest = np.split(x, (half, 2 * half), axis=-1)
        product = self._round if not self.spec.rope_full_precision else lambda value: value
        turned = (
            self._round(product(low * cos) - product(high * sin)),
            self._round(product(high * cos) + product(low * sin)),
        )
        return np.concatenate([*turned, rest], axis=-1)

    def _qkv(
        self, n: Floats, layer: int, rotation: tuple[Floats, Floats]
    ) -> tuple[Floats, Floats, Floats]:
        """Queries (R, n, heads, head_dim), keys and values (R, n, kv_heads, head_dim)."""
        spec = self.spec
        parts = []
        for role, heads in (("q", spec.heads), ("k", spec.kv_heads), ("v", spec.kv_heads)):
            y = n @ self._weight(role, layer).T
            if spec.qkv_bias:
                y = y + self._weight(f"{role}_bias", layer)
            y = self._round(y).reshape(*n.shape[:2], heads, spec.head_dim)
            if role != "v":
                if spec.qk_norm:
                    y = self._norm(y, self._weight(f"{role}_norm", layer))
                y = self._rotate(y, rotation)
            parts.append(y)
        return parts[0], parts[1], parts[2]

    def _attended(
        self, call: ForwardCall, layer: int, k: Floats, v: Floats
    ) -> tuple[Floats, Floats]:
        """Keys and values that a call attends to."""
        if call.kind == "full":
            return k, v
        if call.kind == "refine_dual":
            return self._overwritten(self.kept[layer], k, v, call.start)
        if call.kind == "sub_block":
            k, v = self._overwritten(self.held[layer], k, v, call.offset)
        if not self.kept:
            return k, v
        old_k, old_v = self.kept[layer]
        return np.concatenate([old_k, k], axis=1), np.concatenate([old_v, v], axis=1)

    @staticmethod
    def _overwritten(
        kept: tuple[Floats, Floats], k: Floats, v: Floats, first: int
    ) -> tuple[Floats, Floats]:
        keys, values = kept[0].copy(), kept[1].copy()
        keys[:, first : first + k.shape[1]] = k
        values[:, first : first + v.shape[1]] = v
        return keys, values

    @staticmethod
    def _hidden(call: ForwardCall) -> Bools | None:
        """True where a key is not seen, broadcasting to (R, n, keys); None: all are seen."""
        hidden = None if call.key_mask is None else ~call.key_mask[:, None, :]
        if call.kind == "prefill":
            block = np.arange(call.length) // call.block_length
            causal = (block[:, None] < block[None, :])[None]
            hidden = causal if hidden is None else hidden | causal
        return hidden

    def _attention(self, q: Floats, k: Floats, v: Floats, hidden: Bools | None) -> Floats:
        """Output of all heads, shape (R, n, heads * head_dim)."""
        spec = self.spec
        rows, n = q.shape[:2]
        # (R, kv_heads, group, n, head_dim) against (R, kv_heads, 1, keys, head_dim)
        q = q.reshape(rows, n, spec.kv_heads, spec.group, spec.head_dim).transpose(0, 2, 3, 1, 4)
        k = k.transpose(0, 2, 3, 1)[:, :, None]
        v = v.transpose(0, 2, 1, 3)[:, :, None]
        scores = (q @ k) * np.float32(spec.head_dim**-0.5)
        if hidden is not None:
            scores = np.where(hidden[:, None, None], np.float32(-np.inf), scores)
        p = np.exp(scores - scores.max(axis=-1, keepdims=True))
        total = p.sum(axis=-1, keepdims=True)
        o = self._round((self._round(p) @ v) / total)
        return o.transpose(0, 3, 1, 2, 4).reshape(rows, n, spec.heads * spec.head_dim)

    def _gated(self, gate: Floats, up: Floats) -> Floats:
        with np.errstate(over="ignore"):
            silu: Floats = np.divide(gate, np.float32(1) + np.exp(-gate), dtype=np.float32)
        return self._round(self._round(silu) * up)

    def _mlp(self, m: Floats, layer: int) -> Floats:
        gated = self._gated(self._linear(m, "gate", layer), self._linear(m, "up", layer))
        return self._linear(gated, "down", layer)

    def _moe(self, m: Floats, layer: int) -> Floats:
        moe = self.spec.moe
        assert moe is not None
        flat = m.reshape(-1, m.shape[-1])
        router = self._linear(flat, "router", layer)
        weights = np.exp(router - router.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        chosen = np.argsort(-weights, axis=-1, kind="stable")[:, : moe.top_k]
        total = np.zeros_like(flat)
        for expert in np.unique(chosen):
            rows = np.flatnonzero((chosen == expert).any(axis=-1))
            x = flat[rows]
            gated = self._gated(
                self._linear(x, "expert_gate", layer, expert),
                self._linear(x, "expert_up", layer, expert),
            )
            y = self._linear(gated, "expert_down", layer, expert)
            total[rows] += self._round(y * self._round(weights[rows, expert, None]))
        return self._round(total).reshape(m.shape)


def reference_generate(
    checkpoint: Checkpoint,
    plan: GenerationPlan,
    tokens: ArrayLike,
    attention_mask: ArrayLike | None = None,
    precision: Precision = "bf16",
) -> GenerationResult:
    """Generates with `ReferenceModel`.

    Args:
        checkpoint: The model.
        plan: What to generate; its cache must be kept in BF16.
        tokens, attention_mask: As in `npuvp.generation.begin`.
        precision: As in `ReferenceModel`.

    Raises:
        ValueError: The plan quantises the cache, which this model does not.
        InputFault, GenerationError: As `npuvp.generation.generate`.
    """
    if plan.kv_format != "bf16":
        raise ValueError(f"kv_format {plan.kv_format!r}: the reference model keeps 'bf16' only")
    model = ReferenceModel(checkpoint, precision)
    return generate(checkpoint.spec, plan, model, tokens, attention_mask)
