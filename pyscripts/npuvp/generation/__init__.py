"""The published generation algorithms as state machines over an abstract model."""

from numpy.typing import ArrayLike

from npuvp.generation.blocks import BlockDiffusion
from npuvp.generation.calls import (
    CallRecord,
    Forward,
    ForwardCall,
    GenerationError,
    GenerationResult,
    Kind,
)
from npuvp.generation.dream import DreamBlocks, DreamWhole
from npuvp.generation.machine import Generation, InputFault
from npuvp.generation.masked import MaskedDiffusion
from npuvp.model.spec import ModelSpec
from npuvp.plan import GenerationPlan

__all__ = [
    "CallRecord",
    "Forward",
    "ForwardCall",
    "Generation",
    "GenerationError",
    "GenerationResult",
    "InputFault",
    "Kind",
    "begin",
    "generate",
]


def begin(
    spec: ModelSpec,
    plan: GenerationPlan,
    tokens: ArrayLike,
    attention_mask: ArrayLike | None = None,
) -> Generation:
    """A generation at its first call.

    Args:
        spec: The model.
        plan: What to generate.
        tokens: Prompt, integers of shape (B, P), or (P,) for one row.
        attention_mask: Shape (B, P), 0 for padding (on the left), or None.

    Raises:
        InputFault: Prompt, mask, plan and model do not fit each other; all faults.
    """
    if plan.revision == "fast-dllm-v2":
        return BlockDiffusion(spec, plan, tokens, attention_mask)
    if plan.revision == "dream":
        whole = plan.cache == "none"
        return (DreamWhole if whole else DreamBlocks)(spec, plan, tokens, attention_mask)
    return MaskedDiffusion(spec, plan, tokens, attention_mask)


def generate(
    spec: ModelSpec,
    plan: GenerationPlan,
    forward: Forward,
    tokens: ArrayLike,
    attention_mask: ArrayLike | None = None,
) -> GenerationResult:
    """Runs a whole generation, one forward call at a time.

    Args:
        spec, plan, tokens, attention_mask: As in `begin`.
        forward: The model.

    Raises:
        InputFault: As `begin`.
        GenerationError: The generation cannot go on.
    """
    generation = begin(spec, plan, tokens, attention_mask)
    records: list[CallRecord] = []
    while (call := generation.next_call()) is not None:
        records.append(generation.commit(forward(call)))
    return GenerationResult(generation.final(), records, generation.prompt_length)
