import json
from pathlib import Path

import pytest

from npuvp.model.config import parse_config, read_config
from npuvp.model.spec import ModelError, Moe

DATA = Path(__file__).parents[2] / "data" / "dllm"

# As published with GSAI-ML/LLaDA-8B-Instruct, without what has no effect.
LLADA_8B = {
    "activation_type": "silu",
    "alibi": False,
    "architectures": ["LLaDAModelLM"],
    "attention_dropout": 0.0,
    "attention_layer_norm": False,
    "auto_map": {"AutoModel": "modeling_llada.LLaDAModelLM"},
    "block_type": "llama",
    "d_model": 4096,
    "embedding_size": 126464,
    "eos_token_id": 126081,
    "include_bias": False,
    "include_qkv_bias": False,
    "layer_norm_type": "rms",
    "mask_token_id": 126336,
    "max_sequence_length": 4096,
    "mlp_hidden_size": 12288,
    "model_type": "llada",
    "multi_query_attention": None,
    "n_heads": 32,
    "n_kv_heads": 32,
    "n_layers": 32,
    "pad_token_id": 126081,
    "rms_norm_eps": 1e-05,
    "rope": True,
    "rope_full_precision": True,
    "rope_theta": 500000.0,
    "scale_logits": False,
    "vocab_size": 126464,
    "weight_tying": False,
}
QWEN = {
    "hidden_act": "silu",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "max_position_embeddings": 131072,
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_sliding_window": False,
    "vocab_size": 152064,
}
DREAM = QWEN | {
    "architectures": ["DreamModel"],
    "eos_token_id": 151643,
    "mask_token_id": 151666,
    "pad_token_id": 151643,
}
V2 = QWEN | {"architectures": ["Fast_dLLM_QwenForCausalLM"], "bd_size": 32, "eos_token_id": 151645}
MOE = {
    "architectures": ["LLaDAMoEModelLM"],
    "attention_bias": False,
    "dense_intermediate_size": 8192,
    "eos_token_id": 156892,
    "expert_intermediate_size": 1024,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "mask_token_id": 156895,
    "max_position_embeddings": 8192,
    "moe_layer_freq": [1] * 16,
    "norm_topk_prob": None,
    "num_attention_heads": 16,
    "num_experts": 64,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 16,
    "num_key_value_heads": 16,
    "pad_token_id": 156892,
    "partial_rotary_factor": 1,
    "qk_layernorm": True,
    "rms_norm_eps": 1e-05,
    "rope_theta": 50000,
    "routed_scaling_factor": 1,
    "shared_expert_intermediate_size": None,
    "vocab_size": 157184,
}


def faults(config: object) -> list[str]:
    with pytest.raises(ModelError) as error:
        parse_config(config)
    return error.value.faults


def without(config: dict, *keys: str) -> dict:
    return {key: value for key, value in config.items() if key not in keys}


def test_llada_8b_has_the_published_size() -> None:
    spec = parse_config(LLADA_8B)
    assert spec.parameters == 8_015_581_184
    assert sum(1 for _ in spec.tensors()) == 291
    assert (spec.head_dim, spec.group, spec.rope_full_precision) == (128, 1, True)
    shapes = {tensor.name: tensor.shape for tensor in spec.tensors()}
    assert shapes["model.transformer.ff_out.weight"] == (126464, 4096)
    assert shapes["model.transformer.blocks.31.ff_out.weight"] == (4096, 12288)


def test_families() -> None:
    dream = parse_config(DREAM)
    assert (dream.architecture, dream.group, dream.qkv_bias) == ("dream", 7, True)
    assert (dream.logit_shift, dream.block, dream.mask_id) == (True, None, 151666)
    assert (dream.rope_full_precision, dream.eos_id) == (False, 151643)
    v2 = parse_config(V2)
    assert (v2.architecture, v2.block, v2.mask_id, v2.eos_id) == (
        "fast-dllm-v2",
        32,
        151665,
        151645,
    )
    moe = parse_config(MOE)
    assert moe.moe == Moe(64, 8, 1024) and moe.qk_norm and not moe.logit_shift
    assert moe.parameters * 2 == 14032 * 2**20 + moe.parameters * 2 % 2**20
    assert parse_config(without(DREAM, "architectures") | {"model_type": "Dream"}) == dream


def test_grouped_queries_of_a_recorded_model() -> None:
    spec = read_config(DATA / "fast2_dual_quota_b2")
    assert (spec.heads, spec.kv_heads, spec.group) == (4, 2, 2)


def test_all_faults_at_once() -> None:
    bad = without(LLADA_8B, "rope_theta", "include_bias") | {
        "n_layers": 0,
        "rms_norm_eps": "1e-5",
        "activation_type": "swiglu",
        "alibi": True,
        "window": 512,
        "weight_tying": 1,
    }
    found = faults(bad)
    assert len(found) == 8
    for words in (
        "n_layers: 0, allowed: an integer of 1 or more",
        "rms_norm_eps: '1e-5'",
        "rope_theta: missing",
        "weight_tying: 1, allowed: true or false",
        "activation_type: 'swiglu' is not supported, allowed: \"silu\"",
        "alibi: True is not supported",
        "include_bias: missing, allowed: false",
        "window: unknown option (value 512) of llada",
    ):
        assert any(words in fault for fault in found), words


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            LLADA_8B | {"architectures": ["GPT2LMHeadModel"]},
            "unknown architecture 'GPT2LMHeadModel'",
        ),
        (LLADA_8B | {"architectures": []}, "allowed: a list of one of LLaDAModelLM"),
        (without(LLADA_8B, "architectures", "model_type"), "architectures: missing"),
        (LLADA_8B | {"n_heads": 31}, "not a multiple of 31 heads"),
        (LLADA_8B | {"n_kv_heads": 5}, "a divisor of heads = 32"),
        (LLADA_8B | {"mask_token_id": 126464}, "mask_id: 126464, allowed: 0..126463"),
        (LLADA_8B | {"embedding_size": 126463}, "embedding_size: 126463"),
        (DREAM | {"rope_scaling": {"type": "yarn"}}, "rope_scaling"),
        (MOE | {"moe_router_enable_expert_bias": True}, "moe_router_enable_expert_bias"),
        (MOE | {"num_experts_per_tok": 65}, "moe.top_k: 65, allowed: 1..64"),
        (MOE | {"partial_rotary_factor": 1.5}, "a number in (0, 1]"),
        ([1], "it holds list"),
    ],
)
def test_one_fault(config: object, words: str) -> None:
    found = faults(config)
    assert len(found) == 1 and words in found[0]


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not readable"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match="not JSON"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(LLADA_8B))
    assert read_config(tmp_path).vocab == 126464
