"""The host: compiles, runs and reads back what was generated."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from npuvp.compiler.account import call_energies, phase_uses
from npuvp.compiler.blocks import KINDS, canvas_ends, ended
from npuvp.compiler.compile import Compilation, compile_generation
from npuvp.compiler.control import TRAPS
from npuvp.compiler.formats import Formats
from npuvp.errors import Trap
from npuvp.firmware import Firmware
from npuvp.generation.calls import CallRecord, GenerationError, GenerationResult, Kind
from npuvp.generation.machine import checked_prompt
from npuvp.model.checkpoint import Checkpoint, load_model
from npuvp.plan import GenerationPlan

if TYPE_CHECKING:
    from npuvp.platform import Platform
    from npuvp.run import Result

__all__ = [
    "Job",
    "default_description",
    "generate",
    "generate_and_run",
    "generation_error",
    "prepare",
    "read_calls",
]


def default_description() -> dict[str, Any]:
    """The machine that the golden model is when no platform is given: VLEN = MLEN = 128."""
    from npuvp.platform import Platform

    platform = Platform("golden")
    platform.hbm("hbm", backend="ideal", size="16GiB", latency="100ns", bandwidth="400GB/s")
    platform.core("core0", vlen=128, mlen=128, blen=16, hlen=16, matrix_sram_bytes="1MiB")
    return platform.description()


def read_calls(
    compilation: Compilation,
    outputs: dict[str, NDArray[Any]],
    before: NDArray[np.int32],
    times: list[int] | None = None,
    energies: list[float] | None = None,
) -> list[CallRecord]:
    """Records of the calls from the firmware's logs.

    Args:
        compilation: What ran.
        outputs: Its output tensors.
        before: Canvas at the start, (B, L); of block diffusion with all masks that it can get.
        times: Cycle at which each call ended; None without a clock.
        energies: Joules of each call likewise.
    """
    records = []
    last = 0
    refine: Kind = "refine_dual" if compilation.plan.cache == "dual" else "refine_prefix"
    for index in range(len(outputs["call_log"])):
        kind, block, step, first, count, _, span, _ = (int(v) for v in outputs["call_log"][index])
        if span == 0:
            break
        after = np.ascontiguousarray(outputs["canvas_log"][index].T[: len(before)])
        transfer = outputs["transfer_log"][index] != 0
        seen = written = after.shape[1]
        if kind in KINDS:
            seen, written = canvas_ends(compilation.plan, compilation.shape.prompt, kind, first)
        cycles = None
        if times is not None:
            cycles, last = times[index] - last, times[index]
        records.append(
            CallRecord(
                kind=KINDS.get(kind, refine if kind else "full"),
                block=-1 if kind in KINDS and block == 0xFFFFFFFF else block,
                step=step,
                start=first,
                length=count,
                canvas_before=before[:, :seen],
                canvas_after=after[:, :written],
                transfer=transfer[:, :written],
                cycles=cycles,
                energy=None if energies is None else energies[index],
            )
        )
        before = after
    return records


def generate(
    model: Checkpoint | str | Path,
    tokens: ArrayLike | str,
    plan: GenerationPlan,
    platform: "Platform | None" = None,
    *,
    attention_mask: ArrayLike | None = None,
    golden: bool = False,
    formats: Formats | Mapping[str, Any] | str | Path | None = None,
    cores: int | None = None,
    host_driven: bool = False,
) -> GenerationResult:
    """Generates text on the simulated machine.

    Args:
        model: A checkpoint, its directory, or the name of a random model.
        tokens: Prompt, integers (B, P) or (P,), or text for a model that ships a tokenizer.
        plan: What to generate.
        platform: Runs it; may be left out with `golden`.
        attention_mask: (B, P), 0 for padding; None: no padding.
        golden: Run the NumPy golden machine in its place: the same firmware without a clock.
        formats: Number formats by class of tensors, a mapping or a YAML file; None: those that a
            quantised checkpoint names, else BF16.
        cores: How many of the platform's cores share the work; None: all.
        host_driven: The host launches every forward call, as `HostDriven` does, which also shows
            what the machine holds between them.

    Returns:
        Tokens and a record of every call.

    Raises:
        ModelError, PlanError, InputFault: What does not fit together.
        CompileError: What the compiler does not support.
        GenerationError: The published code fails or loops for ever at this point.
    """
    return generate_and_run(
        model,
        tokens,
        plan,
        platform,
        attention_mask=attention_mask,
        golden=golden,
        formats=formats,
        cores=cores,
        host_driven=host_driven,
    )[0]


def generate_and_run(
    model: Checkpoint | str | Path,
    tokens: ArrayLike | str,
    plan: GenerationPlan,
    platform: "Platform | None" = None,
    *,
    attention_mask: ArrayLike | None = None,
    golden: bool = False,
    formats: Formats | Mapping[str, Any] | str | Path | None = None,
    cores: int | None = None,
    host_driven: bool = False,
) -> tuple[GenerationResult, "Result | None"]:
    """As `generate`; returns the machine's result as well, None with `golden`."""
    if host_driven:
        from npuvp.compiler.host_driven import HostDriven

        with HostDriven(
            model,
            tokens,
            plan,
            platform,
            attention_mask=attention_mask,
            golden=golden,
            formats=formats,
            cores=cores,
        ) as driven:
            for _ in driven:
                pass
            return driven.result, driven.run
    job = prepare(
        model,
        tokens,
        plan,
        platform,
        attention_mask=attention_mask,
        golden=golden,
        formats=formats,
        cores=cores,
    )
    result: Result | None = None
    try:
        if golden:
            from npuvp.golden.machine import run

            outputs = run(job.description, job.firmware, inputs=job.inputs).outputs
        else:
            assert platform is not None
            result = platform.run(job.firmware, inputs=job.inputs)
            outputs = result.outputs
    except Trap as trap:
        raise generation_error(trap) or trap from None
    return job.generated(outputs, result), result


@dataclass(frozen=True)
class Job:
    """A generation that is compiled, with its weights, and ready to run.

    Attributes:
        compilation: What runs.
        description: Of the machine.
        canvas: At the start, (B, L).
        inputs: Of the firmware.
        prompt_length: P.
    """

    compilation: Compilation
    description: dict[str, Any]
    canvas: NDArray[np.int32]
    inputs: dict[str, NDArray[np.int32]]
    prompt_length: int

    @property
    def firmware(self) -> Firmware:
        """What runs, weights included."""
        return self.compilation.firmware

    def generated(
        self, outputs: dict[str, NDArray[Any]], result: "Result | None"
    ) -> GenerationResult:
        """What was generated, from the firmware's outputs and the machine's result, if any."""
        period, batch = self.description["period_ps"], len(self.canvas)
        times: list[int] | None = None
        energies: list[float] | None = None
        if result is not None:
            times = [time // period for time, _, _ in result.host_words]
            energies = call_energies(result, period)
        calls = read_calls(self.compilation, outputs, self.canvas, times, energies)
        final = np.ascontiguousarray(outputs["tokens"].T[:batch]).astype(np.int32)
        if self.compilation.plan.revision == "fast-dllm-v2":
            eos = self.compilation.checkpoint.spec.eos_id
            final = ended(calls[-1].canvas_after, self.prompt_length, eos)
        if result is None:
            return GenerationResult(final, calls, self.prompt_length)
        return GenerationResult(
            final,
            calls,
            self.prompt_length,
            result.time,
            result.energy.total,
            phase_uses(result, period),
        )


def prepare(
    model: Checkpoint | str | Path,
    tokens: ArrayLike | str,
    plan: GenerationPlan,
    platform: "Platform | None" = None,
    *,
    attention_mask: ArrayLike | None = None,
    golden: bool = False,
    formats: Formats | Mapping[str, Any] | str | Path | None = None,
    cores: int | None = None,
    host_driven: bool = False,
) -> Job:
    """Checks and compiles a generation; arguments and errors as of `generate`."""
    checkpoint = model if isinstance(model, Checkpoint) else load_model(model)
    if isinstance(tokens, str):
        from npuvp.model.tokenizer import Tokenizer

        tokens = np.array(Tokenizer.load(checkpoint.name).encode(tokens))
    prompt, padding = checked_prompt(checkpoint.spec, plan, tokens, attention_mask)
    if platform is None and not golden:
        raise ValueError("platform: none given (allowed: a Platform, or golden=True)")
    description = default_description() if platform is None else platform.description()
    batch, length = prompt.shape
    compilation = compile_generation(
        checkpoint,
        description,
        plan,
        prompt_length=length,
        batch=batch,
        padding=padding,
        formats=formats,
        cores=cores,
        host_driven=host_driven,
    )
    compilation.firmware.segments += compilation.weight_segments()
    masks = np.full((batch, compilation.shape.length - length), checkpoint.spec.mask_id, np.int32)
    canvas = np.concatenate([prompt, masks], axis=1)
    shown = canvas
    if plan.cfg_scale:
        # Guidance: a second canvas in which the prompt is hidden.
        shown = np.concatenate([canvas, np.full_like(canvas, checkpoint.spec.mask_id)])
    return Job(compilation, description, canvas, {"tokens": shown.T}, length)


def generation_error(trap: Trap) -> GenerationError | None:
    """What a trap of the firmware means; None if it is none of those that it makes on purpose."""
    for code, reason in TRAPS.items():
        if f"code {code}" in str(trap) and trap.message == "firmware trap":
            return GenerationError(reason)
    return None
