"""What the rest of the package needs to know of a model: dimensions, options and tensors."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

__all__ = ["ARCHITECTURES", "Architecture", "ModelError", "ModelSpec", "Moe", "TensorSpec"]

Architecture = Literal["llada", "llada-moe", "dream", "fast-dllm-v2"]
ARCHITECTURES: tuple[Architecture, ...] = ("llada", "llada-moe", "dream", "fast-dllm-v2")


class ModelError(ValueError):
    """A model that cannot be used; the message lists every fault.

    Attributes:
        faults: One line each.
    """

    def __init__(self, where: str, faults: list[str]):
        super().__init__(f"{where} cannot be used:\n  " + "\n  ".join(faults))
        self.faults = faults


@dataclass(frozen=True)
class Moe:
    """A mixture of experts in place of every layer's MLP.

    The router's softmax runs in float32 over all experts; the chosen weights are not renormalised.

    Attributes:
        experts: Number of experts.
        top_k: Experts of a token.
        mlp: Inner width of an expert.
    """

    experts: int
    top_k: int
    mlp: int


@dataclass(frozen=True)
class ModelSpec:
    """A transformer with pre-norm, RMSNorm, gated SiLU MLP and half-split rotary positions.

    Attributes:
        architecture: Which published family.
        layers, hidden, heads, kv_heads, head_dim, mlp, vocab: Dimensions. Query head h uses KV head
            h // (heads / kv_heads). `mlp` is the dense width, of no use with `moe`.
        max_length: Positions that the model was made for.
        norm_eps: Added to the mean square before the root.
        rope_theta: Base of the rotary angles; angle(p, i) = p * theta^(-2 i / rotary_dim).
        rotary_dim: Channels of a head that are rotated, from the first.
        rope_full_precision: Table and rotation in float32, result rounded once; otherwise table,
            products and sum are rounded to BF16.
        qkv_bias: Q, K and V projections have biases.
        qk_norm: RMSNorm over each head of Q and K before the rotation, one vector for all heads.
        tied_head: The head is the embedding.
        moe: Mixture of experts, or None.
        block: Length of the blocks between which attention is causal; None: fully bidirectional.
        logit_shift: Position i is predicted by the output at i - 1.
        mask_id, eos_id, pad_id: Special tokens; `eos_id` ends an answer.
        channels: Channels of a head that are the model's; those behind them are zeros, with which a
            compiler has filled heads up. 0: all.
    """

    architecture: Architecture
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    vocab: int
    max_length: int
    norm_eps: float
    rope_theta: float
    rotary_dim: int
    rope_full_precision: bool
    qkv_bias: bool
    qk_norm: bool
    tied_head: bool
    moe: Moe | None
    block: int | None
    logit_shift: bool
    mask_id: int
    eos_id: int
    pad_id: int
    channels: int = 0

    @property
    def head_channels(self) -> int:
        """Channels of a head that are the model's: scores are scaled by their root."""
        return self.channels or self.head_dim

    @property
    def group(self) -> int:
        """Query heads per KV head."""
        return self.heads // self.kv_heads

    @property
    def parameters(self) -> int:
        """Number of stored parameters."""
        return sum(tensor.size for tensor in self.tensors())

    def faults(self) -> list[str]:
        """What is wrong with the dimensions, one line each."""
        faults = []
        for name in ("layers", "hidden", "heads", "kv_heads", "head_dim", "vocab", "max_length"):
            if getattr(self, name) < 1:
                faults.append(f"{name}: {getattr(self, name)}, allowed: 1 or more")
        if self.moe is None and self.mlp < 1:
            faults.append(f"mlp: {self.mlp}, allowed: 1 or more")
        if self.kv_heads > 0 and self.heads % self.kv_heads:
            faults.append(f"kv_heads: {self.kv_heads}, allowed: a divisor of heads = {self.heads}")
        if self.rotary_dim % 2 or not 0 < self.rotary_dim <= self.head_dim:
            faults.append(
                f"rotary_dim: {self.rotary_dim}, allowed: even, up to head_dim = {self.head_dim}"
            )
        if not self.norm_eps > 0:
            faults.append(f"norm_eps: {self.norm_eps}, allowed: above 0")
        if not self.rope_theta > 0:
            faults.append(f"rope_theta: {self.rope_theta}, allowed: above 0")
        for name in ("mask_id", "eos_id", "pad_id"):
            if not 0 <= getattr(self, name) < self.vocab:
                faults.append(f"{name}: {getattr(self, name)}, allowed: 0..{self.vocab - 1}")
        if self.moe is not None:
            if self.moe.mlp < 1 or self.moe.experts < 1:
                faults.append(f"moe: {self.moe.experts} experts of width {self.moe.mlp}")
            if not 1 <= self.moe.top_k <= self.moe.experts:
                faults.append(f"moe.top_k: {self.moe.top_k}, allowed: 1..{self.moe.experts}")
        if self.block is not None and self.block < 1:
            faults.append(f"block: {self.block}, allowed: 1 or more")
        return faults

    def tensors(self) -> Iterator["TensorSpec"]:
        """Every tensor of a checkpoint, in a fixed order."""
        names = _LLADA if self.architecture == "llada" else _HUGGING_FACE
        for role, shape in self._shapes(layered=False):
            yield TensorSpec(names[role], shape, role)
        for layer in range(self.layers):
            for role, shape in self._shapes(layered=True):
                if role.startswith("expert_"):
                    assert self.moe is not None
                    for expert in range(self.moe.experts):
                        name = names[role].format(layer=layer, expert=expert)
                        yield TensorSpec(name, shape, role, layer, expert)
                else:
                    yield TensorSpec(names[role].format(layer=layer), shape, role, layer)

    def _shapes(self, *, layered: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
        hidden, q, kv = self.hidden, self.heads * self.head_dim, self.kv_heads * self.head_dim
        if not layered:
            yield "embedding", (self.vocab, hidden)
            yield "final_norm", (hidden,)
            if not self.tied_head:
                yield "head", (self.vocab, hidden)
            return
        yield "attn_norm", (hidden,)
        yield "q", (q, hidden)
        yield "k", (kv, hidden)
        yield "v", (kv, hidden)
        if self.qkv_bias:
            yield "q_bias", (q,)
            yield "k_bias", (kv,)
            yield "v_bias", (kv,)
        if self.qk_norm:
            yield "q_norm", (self.head_dim,)
            yield "k_norm", (self.head_dim,)
        yield "o", (hidden, q)
        yield "mlp_norm", (hidden,)
        if self.moe is None:
            yield "gate", (self.mlp, hidden)
            yield "up", (self.mlp, hidden)
            yield "down", (hidden, self.mlp)
        else:
            yield "router", (self.moe.experts, hidden)
            yield "expert_gate", (self.moe.mlp, hidden)
            yield "expert_up", (self.moe.mlp, hidden)
            yield "expert_down", (hidden, self.moe.mlp)


@dataclass(frozen=True)
class TensorSpec:
    """A tensor of a checkpoint.

    Attributes:
        name: Published name.
        shape: Matrices are [out, in].
        role: What it is: ``embedding``, ``final_norm``, ``head``, and per layer ``attn_norm``,
            ``q``, ``k``, ``v``, ``q_bias``, ``k_bias``, ``v_bias``, ``q_norm``, ``k_norm``, ``o``,
            ``mlp_norm``, ``gate``, ``up``, ``down``, ``router``, ``expert_gate``, ``expert_up``,
            ``expert_down``.
        layer: Its layer, or None.
        expert: Its expert, or None.
    """

    name: str
    shape: tuple[int, ...]
    role: str
    layer: int | None = None
    expert: int | None = None

    @property
    def key(self) -> tuple[str, int | None, int | None]:
        """Role, layer and expert."""
        return self.role, self.layer, self.expert

    @property
    def size(self) -> int:
        """Number of elements."""
        count = 1
        for extent in self.shape:
            count *= extent
        return count


_LLADA_BLOCK = "model.transformer.blocks.{layer}."
_LLADA = {
    "embedding": "model.transformer.wte.weight",
    "final_norm": "model.transformer.ln_f.weight",
    "head": "model.transformer.ff_out.weight",
    "attn_norm": _LLADA_BLOCK + "attn_norm.weight",
    "q": _LLADA_BLOCK + "q_proj.weight",
    "k": _LLADA_BLOCK + "k_proj.weight",
    "v": _LLADA_BLOCK + "v_proj.weight",
    "q_bias": _LLADA_BLOCK + "q_proj.bias",
    "k_bias": _LLADA_BLOCK + "k_proj.bias",
    "v_bias": _LLADA_BLOCK + "v_proj.bias",
    "o": _LLADA_BLOCK + "attn_out.weight",
    "mlp_norm": _LLADA_BLOCK + "ff_norm.weight",
    "gate": _LLADA_BLOCK + "ff_proj.weight",
    "up": _LLADA_BLOCK + "up_proj.weight",
    "down": _LLADA_BLOCK + "ff_out.weight",
}
_LAYER = "model.layers.{layer}."
_EXPERT = _LAYER + "mlp.experts.{expert}."
_HUGGING_FACE = {
    "embedding": "model.embed_tokens.weight",
    "final_norm": "model.norm.weight",
    "head": "lm_head.weight",
    "attn_norm": _LAYER + "input_layernorm.weight",
    "q": _LAYER + "self_attn.q_proj.weight",
    "k": _LAYER + "self_attn.k_proj.weight",
    "v": _LAYER + "self_attn.v_proj.weight",
    "q_bias": _LAYER + "self_attn.q_proj.bias",
    "k_bias": _LAYER + "self_attn.k_proj.bias",
    "v_bias": _LAYER + "self_attn.v_proj.bias",
    "q_norm": _LAYER + "self_attn.q_norm.weight",
    "k_norm": _LAYER + "self_attn.k_norm.weight",
    "o": _LAYER + "self_attn.o_proj.weight",
    "mlp_norm": _LAYER + "post_attention_layernorm.weight",
    "gate": _LAYER + "mlp.gate_proj.weight",
    "up": _LAYER + "mlp.up_proj.weight",
    "down": _LAYER + "mlp.down_proj.weight",
    "router": _LAYER + "mlp.gate.weight",
    "expert_gate": _EXPERT + "gate_proj.weight",
    "expert_up": _EXPERT + "up_proj.weight",
    "expert_down": _EXPERT + "down_proj.weight",
}
