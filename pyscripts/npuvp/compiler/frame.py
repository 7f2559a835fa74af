"""What a generation takes of a machine before any of its code is there: sizes, sampler, places.

Compiler, replay and closed forms begin with the same frame.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from npuvp.baos import kv_block
from npuvp.compiler.blocks import block_positions, canvas_length, unseen_positions
from npuvp.compiler.dream import dream_numbers, dream_positions
from npuvp.compiler.formats import Formats
from npuvp.compiler.layout import Geometry, Layout, Shape
from npuvp.compiler.sampler import Sampler
from npuvp.compiler.selection import Memory, Schedule
from npuvp.model.spec import ModelSpec
from npuvp.plan import GenerationPlan

__all__ = ["Frame", "frame_faults", "sharing_cores"]


def sharing_cores(present: int, cores: int | None) -> tuple[int, list[str]]:
    """How many cores share a generation, and what is wrong with that.

    Args:
        present: Cores of the platform.
        cores: How many are wanted; None: all.
    """
    if cores is None:
        return present, []
    if 1 <= cores <= present:
        return cores, []
    return cores, [f"cores: {cores}, allowed: 1..{present}, as the platform has"]


def frame_faults(
    spec: ModelSpec, plan: GenerationPlan, formats: Formats, prompt_length: int, batch: int
) -> list[str]:
    """What the compiler does not support on any machine.

    Args:
        spec, plan, formats: What is wanted.
        prompt_length: P.
        batch: B.
    """
    faults = []
    causal = plan.revision == "fast-dllm-v2"
    if prompt_length < 1 or batch < 1:
        faults.append(f"prompt_length {prompt_length} and batch {batch}, allowed: 1 or more")
    # The token behind the last block of a block-causal canvas is never computed.
    length = canvas_length(plan, prompt_length) - 1 if causal else prompt_length + plan.gen_length
    if length > spec.max_length:
        faults.append(f"{length} positions, the model has {spec.max_length}")
    return faults + _cache_faults(formats, plan, spec)


def _cache_faults(formats: Formats, plan: GenerationPlan, spec: ModelSpec) -> list[str]:
    """Caches that cannot be kept as the plan and the formats say."""
    faults = []
    for role in ("keys", "values"):
        cache = formats.cache(role, plan.kv_format)
        if not cache.quantised:
            if cache.smoothed:
                faults.append(f"formats.{role}: 'bf16' with kv_format {plan.kv_format!r}")
            continue
        if plan.cache not in ("prefix", "dual"):
            faults.append(
                f"{role} in {cache.element} with cache {plan.cache!r}, allowed: a cache that is "
                "filled by a warm pass (prefix, dual)"
            )
        try:
            kv_block(spec.head_dim)
        except ValueError as fault:
            faults.append(f"{role} in {cache.element}: {fault}")
    return faults


@dataclass(frozen=True)
class Frame:
    """Sizes and places of a generation.

    Attributes:
        spec, plan: What is generated.
        shape: Static sizes.
        sampler: What becomes of logits.
        layout: Of HBM.
        memory: Of the SRAMs while tokens are chosen.
    """

    spec: ModelSpec
    plan: GenerationPlan
    shape: Shape
    sampler: Sampler
    layout: Layout
    memory: Memory

    @classmethod
    def of(
        cls,
        spec: ModelSpec,
        plan: GenerationPlan,
        geometry: Geometry,
        formats: Formats,
        *,
        prompt_length: int,
        batch: int,
        cores: int = 1,
        padding: NDArray[np.bool_] | None = None,
    ) -> "Frame":
        """The frame of a generation on a machine; `frame_faults` has found nothing.

        Args:
            spec, plan, geometry, formats: What, and where.
            prompt_length: P.
            batch: B.
            cores: That share the work.
            padding: Which prompt tokens are seen, (rows of a call, P); None: all.

        Raises:
            CompileError: Which tensor does not fit where.
        """
        causal = plan.revision == "fast-dllm-v2"
        schedule = Schedule.of(plan)
        length = canvas_length(plan, prompt_length) if causal else prompt_length + plan.gen_length
        shape = Shape(
            batch=2 * batch if plan.cfg_scale else batch,
            samples=batch,
            prompt=prompt_length,
            length=length,
            calls=schedule.calls,
            span=schedule.length,
            block=plan.block_length if causal else 0,
            unseen=unseen_positions(plan, prompt_length) if causal else 0,
        )
        positions = None
        if causal:
            positions = block_positions(plan, prompt_length)
        elif plan.revision == "dream":
            positions = dream_positions(padding, length)
        sampler = Sampler.of(plan, spec)
        layout = Layout(
            spec,
            shape,
            geometry,
            positions=positions,
            numbers=dream_numbers(plan, shape) if plan.revision == "dream" else {},
            edited=sampler.edited,
            statistics=len(sampler.words) + 1,
            formats=formats,
            kv_format=plan.kv_format,
            cores=cores,
            restricted=sampler.restricted,
        )
        memory = Memory(geometry, shape, plan, sampler, cores)
        return cls(spec, plan, shape, sampler, layout, memory)
