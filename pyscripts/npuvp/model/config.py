"""Reads a published config.json into a `ModelSpec`, strictly.

Every key is either read, checked against the only value that is supported, known to have no effect
on what the model computes, or a fault. The defaults of the published configuration classes are not
relied on where they contradict the checkpoints (LLaDA's are those of another model).
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npuvp.model.spec import Architecture, ModelError, ModelSpec, Moe

__all__ = ["parse_config", "read_config"]

FILE = "config.json"

_REQUIRED: Any = object()
"""Stands for no default: the key must be there."""


def _count(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        return "an integer of 1 or more"
    return None


def _token(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return "a token id"
    return None


def _positive(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "a number above 0"
    return None if math.isfinite(value) and value > 0 else "a number above 0"


def _flag(value: object) -> str | None:
    return None if isinstance(value, bool) else "true or false"


@dataclass(frozen=True)
class _Key:
    check: Callable[[object], str | None]
    default: Any = _REQUIRED


@dataclass(frozen=True)
class _Family:
    """How the config.json of one architecture is read.

    Attributes:
        architecture: Our name of it.
        classes: Values of `architectures` that mean it.
        types: Values of `model_type` that mean it.
        keys: What is read.
        fixed: Keys with the values that are supported; absent is as good as the first, unless
            that is `_REQUIRED`.
        silent: Keys without effect on what is computed here.
        build: Makes the specification of the checked values.
    """

    architecture: Architecture
    classes: tuple[str, ...]
    types: tuple[str, ...]
    keys: Mapping[str, _Key]
    fixed: Mapping[str, tuple[Any, ...]]
    silent: frozenset[str]
    build: Callable[[Mapping[str, Any]], ModelSpec]


_GENERIC = frozenset(
    {
        "_name_or_path",
        "architectures",
        "attention_dropout",
        "auto_map",
        "bos_token_id",
        "dtype",
        "initializer_range",
        "model_type",
        "quantization_config",
        "torch_dtype",
        "transformers_version",
        "use_cache",
    }
)


def _llada(v: Mapping[str, Any]) -> ModelSpec:
    head_dim = v["d_model"] // v["n_heads"]
    return ModelSpec(
        architecture="llada",
        layers=v["n_layers"],
        hidden=v["d_model"],
        heads=v["n_heads"],
        kv_heads=v["n_heads"] if v["n_kv_heads"] is None else v["n_kv_heads"],
        head_dim=head_dim,
        mlp=v["mlp_hidden_size"],
        vocab=v["vocab_size"] if v["embedding_size"] is None else v["embedding_size"],
        max_length=v["max_sequence_length"],
        norm_eps=float(v["rms_norm_eps"]),
        rope_theta=float(v["rope_theta"]),
        rotary_dim=head_dim,
        rope_full_precision=v["rope_full_precision"],
        qkv_bias=v["include_qkv_bias"],
        qk_norm=False,
        tied_head=v["weight_tying"],
        moe=None,
        block=None,
        logit_shift=False,
        mask_id=v["mask_token_id"],
        eos_id=v["eos_token_id"],
        pad_id=v["eos_token_id"] if v["pad_token_id"] is None else v["pad_token_id"],
    )


def _hugging_face(
    v: Mapping[str, Any],
    architecture: Architecture,
    *,
    mlp: int,
    head_dim: int,
    qkv_bias: bool,
    qk_norm: bool = False,
    moe: Moe | None = None,
    block: int | None = None,
    logit_shift: bool = True,
    rotary: float = 1.0,
) -> ModelSpec:
    return ModelSpec(
        architecture=architecture,
        layers=v["num_hidden_layers"],
        hidden=v["hidden_size"],
        heads=v["num_attention_heads"],
        kv_heads=v["num_key_value_heads"] or v["num_attention_heads"],
        head_dim=head_dim,
        mlp=mlp,
        vocab=v["vocab_size"],
        max_length=v["max_position_embeddings"],
        norm_eps=float(v["rms_norm_eps"]),
        rope_theta=float(v["rope_theta"]),
        rotary_dim=int(head_dim * rotary),
        rope_full_precision=False,
        qkv_bias=qkv_bias,
        qk_norm=qk_norm,
        tied_head=v["tie_word_embeddings"],
        moe=moe,
        block=block,
        logit_shift=logit_shift,
        mask_id=v["mask_token_id"],
        eos_id=v["eos_token_id"],
        pad_id=v["eos_token_id"] if v["pad_token_id"] is None else v["pad_token_id"],
    )


def _width(v: Mapping[str, Any]) -> int:
    return int(v["hidden_size"] // v["num_attention_heads"])


def _llada_moe(v: Mapping[str, Any]) -> ModelSpec:
    moe = Moe(v["num_experts"], v["num_experts_per_tok"], v["expert_intermediate_size"])
    return _hugging_face(
        v,
        "llada-moe",
        mlp=0,
        head_dim=_width(v),
        qkv_bias=False,
        qk_norm=v["qk_layernorm"],
        moe=moe,
        logit_shift=False,
        rotary=float(v["partial_rotary_factor"]),
    )


def _dream(v: Mapping[str, Any]) -> ModelSpec:
    return _hugging_face(v, "dream", mlp=v["intermediate_size"], head_dim=_width(v), qkv_bias=True)


def _fast_dllm(v: Mapping[str, Any]) -> ModelSpec:
    return _hugging_face(
        v,
        "fast-dllm-v2",
        mlp=v["intermediate_size"],
        head_dim=_width(v) if v["head_dim"] is None else v["head_dim"],
        qkv_bias=True,
        block=v["bd_size"],
    )


def _optional(check: Callable[[object], str | None]) -> _Key:
    return _Key(lambda value: None if value is None else check(value), None)


def _fraction(value: object) -> str | None:
    wrong = _positive(value)
    return wrong or (None if float(value) <= 1 else "a number in (0, 1]")  # type: ignore[arg-type]


_HUGGING_FACE_KEYS = {
    "hidden_size": _Key(_count),
    "num_hidden_layers": _Key(_count),
    "num_attention_heads": _Key(_count),
    "num_key_value_heads": _optional(_count),
    "vocab_size": _Key(_count),
    "max_position_embeddings": _Key(_count),
    "rms_norm_eps": _Key(_positive),
    "rope_theta": _Key(_positive),
    "tie_word_embeddings": _Key(_flag, False),
    "pad_token_id": _optional(_token),
}
_HUGGING_FACE_FIXED: dict[str, tuple[Any, ...]] = {
    "hidden_act": (_REQUIRED, "silu"),
    "rope_scaling": (None,),
    "sliding_window": (None,),
    "use_sliding_window": (False, None),
}

_FAMILIES = (
    _Family(
        "llada",
        ("LLaDAModelLM",),
        ("llada",),
        {
            "d_model": _Key(_count),
            "n_layers": _Key(_count),
            "n_heads": _Key(_count),
            "n_kv_heads": _optional(_count),
            "mlp_hidden_size": _Key(_count),
            "vocab_size": _Key(_count),
            "embedding_size": _optional(_count),
            "max_sequence_length": _Key(_count),
            "rms_norm_eps": _Key(_positive),
            "rope_theta": _Key(_positive),
            "rope_full_precision": _Key(_flag, True),
            "include_qkv_bias": _Key(_flag, False),
            "weight_tying": _Key(_flag),
            "mask_token_id": _Key(_token),
            "eos_token_id": _Key(_token),
            "pad_token_id": _optional(_token),
        },
        {
            "activation_type": (_REQUIRED, "silu"),
            "alibi": (False,),
            "attention_layer_norm": (False,),
            "bias_for_layer_norm": (False, None),
            "block_group_size": (1,),
            "block_type": (_REQUIRED, "llama"),
            "clip_qkv": (None,),
            "include_bias": (_REQUIRED, False),
            "input_emb_norm": (False,),
            "layer_norm_type": (_REQUIRED, "rms"),
            "layer_norm_with_affine": (True,),
            "multi_query_attention": (None, False),
            "rope": (_REQUIRED, True),
            "scale_logits": (False,),
        },
        _GENERIC
        | {
            "alibi_bias_max",
            "attention_layer_norm_with_affine",
            "embedding_dropout",
            "flash_attention",
            "init_cutoff_factor",
            "init_device",
            "init_fn",
            "init_std",
            "mlp_ratio",
            "precision",
            "residual_dropout",
        },
        _llada,
    ),
    _Family(
        "llada-moe",
        ("LLaDAMoEModelLM", "LLaDAMoEModel"),
        ("lladamoe", "llada_moe", "llada"),
        {
            **_HUGGING_FACE_KEYS,
            "num_experts": _Key(_count),
            "num_experts_per_tok": _Key(_count),
            "expert_intermediate_size": _Key(_count),
            "qk_layernorm": _Key(_flag),
            "partial_rotary_factor": _Key(_fraction, 1.0),
            "mask_token_id": _Key(_token, 156895),
            "eos_token_id": _Key(_token),
        },
        {
            **_HUGGING_FACE_FIXED,
            "attention_bias": (False, None),
            "clip_qkv": (None,),
            "moe_router_enable_expert_bias": (False, None),
            "moe_router_score_function": ("softmax", None),
            "routed_scaling_factor": (1, 1.0, None),
            "router_num_group": (None, -2, 1),
            "router_topk_group": (None, -2, 1),
            "shared_expert_intermediate_size": (None, 0),
        },
        _GENERIC
        | {
            "dense_intermediate_size",
            # A dense layer is not supported, and shows in the tensors that are missing.
            "moe_layer_freq",
            # The published code ignores it: the weights are never renormalised.
            "norm_topk_prob",
            "output_router_logits",
            "router_aux_loss_coef",
        },
        _llada_moe,
    ),
    _Family(
        "dream",
        ("DreamModel",),
        ("Dream", "dream"),
        {
            **_HUGGING_FACE_KEYS,
            "intermediate_size": _Key(_count),
            "mask_token_id": _Key(_token),
            "eos_token_id": _Key(_token),
        },
        _HUGGING_FACE_FIXED,
        _GENERIC | {"max_window_layers"},
        _dream,
    ),
    _Family(
        "fast-dllm-v2",
        ("Fast_dLLM_QwenForCausalLM",),
        ("Fast_dLLM_Qwen",),
        {
            **_HUGGING_FACE_KEYS,
            "intermediate_size": _Key(_count),
            "head_dim": _optional(_count),
            "bd_size": _Key(_count, 32),
            "mask_token_id": _Key(_token, 151665),
            "eos_token_id": _Key(_token, 151645),
        },
        {key: v for key, v in _HUGGING_FACE_FIXED.items() if key != "sliding_window"},
        _GENERIC | {"layer_types", "max_window_layers", "sliding_window"},
        _fast_dllm,
    ),
)


def _family(config: Mapping[str, Any], faults: list[str]) -> _Family | None:
    known = ", ".join(name for family in _FAMILIES for name in family.classes)
    classes = config.get("architectures")
    if classes is None:
        kind = config.get("model_type")
        for family in _FAMILIES:
            if kind in family.types:
                return family
        faults.append(f"architectures: missing, and model_type is {kind!r} (allowed: {known})")
        return None
    if not isinstance(classes, list) or len(classes) != 1:
        faults.append(f"architectures: {classes!r}, allowed: a list of one of {known}")
        return None
    for family in _FAMILIES:
        if classes[0] in family.classes:
            return family
    faults.append(f"architectures: unknown architecture {classes[0]!r} (allowed: {known})")
    return None


def _equal(value: object, allowed: object) -> bool:
    return type(value) is type(allowed) and value == allowed


def parse_config(config: object, where: str = FILE) -> ModelSpec:
    """Checks a published configuration.

    Args:
        config: Contents of config.json.
        where: Names the file in messages.

    Raises:
        ModelError: Unknown architecture, missing, mistyped, unknown or unsupported keys, dimensions
            that contradict each other: all of them.
    """
    if not isinstance(config, dict):
        raise ModelError(where, [f"it holds {type(config).__name__}, allowed: an object"])
    faults: list[str] = []
    family = _family(config, faults)
    if family is None:
        raise ModelError(where, faults)
    values: dict[str, Any] = {}
    for name, key in family.keys.items():
        if name not in config:
            if key.default is _REQUIRED:
                faults.append(f"{name}: missing, allowed: {key.check(None)}")
            values[name] = key.default
            continue
        wrong = key.check(config[name])
        if wrong is not None:
            faults.append(f"{name}: {config[name]!r}, allowed: {wrong}")
        values[name] = config[name]
    for name, allowed in family.fixed.items():
        choices = [choice for choice in allowed if choice is not _REQUIRED]
        text = " or ".join(json.dumps(choice) for choice in choices)
        if name not in config:
            if allowed[0] is _REQUIRED:
                faults.append(f"{name}: missing, allowed: {text}")
        elif not any(_equal(config[name], choice) for choice in choices):
            faults.append(f"{name}: {config[name]!r} is not supported, allowed: {text}")
    quantised = config.get("quantization_config")
    if quantised is not None and (
        not isinstance(quantised, dict) or quantised.get("quant_method") != "npuvp-mx"
    ):
        faults.append(
            f"quantization_config: {quantised!r} is not supported, allowed: what npuvp quantise "
            "writes (quant_method 'npuvp-mx')"
        )
    for name, value in config.items():
        known = name in family.keys or name in family.fixed or name in family.silent
        if not known and value not in (None, False):
            faults.append(f"{name}: unknown option (value {value!r}) of {family.architecture}")
    if not faults:
        hidden, heads = (
            (values["d_model"], values["n_heads"])
            if family.architecture == "llada"
            else (values["hidden_size"], values["num_attention_heads"])
        )
        if values.get("head_dim") is None and hidden % heads:
            faults.append(f"hidden size {hidden} is not a multiple of {heads} heads")
        rows = values.get("embedding_size")
        if rows is not None and rows < values["vocab_size"]:
            faults.append(
                f"embedding_size: {rows}, allowed: vocab_size = {values['vocab_size']} or more"
            )
    if not faults:
        spec = family.build(values)
        faults = spec.faults()
    if faults:
        raise ModelError(where, faults)
    return spec


def read_config(directory: str | Path) -> ModelSpec:
    """Reads config.json of a model directory.

    Raises:
        ModelError: As `parse_config`, or there is no such file, or it is not JSON.
    """
    path = Path(directory) / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ModelError(str(path), [f"not readable: {error.strerror}"]) from None
    try:
        config = json.loads(text)
    except ValueError as error:
        raise ModelError(str(path), [f"not JSON: {error}"]) from None
    return parse_config(config, str(path))
