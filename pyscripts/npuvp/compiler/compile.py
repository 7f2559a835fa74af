"""The compiler's passes in order."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from npuvp.compiler.assembly import Assembly
from npuvp.compiler.build import build, fuse
from npuvp.compiler.control import LOG_WORDS, Control, Memory, most_calls, plan_faults
from npuvp.compiler.errors import CompileError
from npuvp.compiler.head import Forward
from npuvp.compiler.ir import Program
from npuvp.compiler.layout import Geometry, Layout, Shape
from npuvp.compiler.sampler import Sampler
from npuvp.firmware import DataSegment, Firmware, Image, Tensor
from npuvp.isa import assemble
from npuvp.model.checkpoint import Checkpoint, load_model
from npuvp.plan import GenerationPlan, quotas

if TYPE_CHECKING:
    from npuvp.platform import Platform

__all__ = ["Compilation", "compile_generation", "compile_model"]


@dataclass
class Compilation:
    """A compiled generation.

    Attributes:
        checkpoint, plan, shape: What was compiled.
        program: The forward call, fused.
        layout: Of HBM.
        assembly: Source text.
        earlier_positions: Positions before a block that are searched for masks at once.
        firmware: Without the weights.
    """

    checkpoint: Checkpoint
    plan: GenerationPlan
    shape: Shape
    program: Program
    layout: Layout
    assembly: str
    earlier_positions: int
    firmware: Firmware

    def dump(self) -> dict[str, str]:
        """Listings of what each pass made, by its name."""
        single = Program(self.program.operations, self.program.layers)
        return {
            "1_operations.txt": "\n".join(single.dump()) + "\n",
            "2_phases.txt": "\n".join(self.program.dump()) + "\n",
            "3_layout.txt": "".join(f"{region}\n" for region in self.layout.regions)
            + f"layer base {self.layout.layer_base:#x}, stride {self.layout.layer_stride:#x}\n"
            + "".join(f"  +{at:#012x} {name}\n" for name, at in self.layout.offsets.items()),
            "4_firmware.s": self.assembly,
        }

    def decisions(self) -> dict[int, list[tuple[int, int]]]:
        """What control takes from data, for a run in timing mode without weights.

        Assumes a prompt without masks and that every call commits its whole quota; under a
        threshold or factor the number of calls depends on the data, so there is no such list.

        Raises:
            CompileError: Not a plan with quotas.
        """
        plan, samples = self.plan, self.shape.samples
        if plan.threshold is not None or plan.factor is not None:
            raise CompileError(["threshold or factor: the number of calls depends on the data"])
        at = {name: s.value for name, s in self.firmware.symbols.items() if s.section == "text"}
        taken: list[tuple[int, int]] = []
        counts = quotas([plan.block_length] * samples, plan.steps_per_block)
        for block in range(plan.blocks):
            taken += [(at["decide_quota"], plan.block_length)] * samples
            start = self.shape.prompt + block * plan.block_length
            left = counts.sum()
            for step in range(plan.steps_per_block):
                sees_earlier = step == 0 or plan.cache == "none"
                # Tokens that an earlier call stored; which row of the embedding matters to no time.
                first = 0 if sees_earlier else start
                written = start + (plan.block_length if step else 0)
                if block or step:
                    count = (written - max(first, self.shape.prompt)) * self.shape.batch
                    rows = [(at["decide_row"], self.checkpoint.spec.mask_id)] * count
                else:
                    rows = []
                if sees_earlier:
                    pieces = -(-start // self.earlier_positions)
                    taken += [(at["decide_earlier"], 0)] * pieces
                taken += rows
                left -= counts[:, step].sum()
                last = step + 1 == plan.steps_per_block
                dual = plan.cache == "dual" and plan.revision == "fast-dllm-2026"
                if plan.revision != "llada" and not (last and dual):
                    taken.append((at["decide_left"], int(left)))
        return {0: taken}

    def weight_segments(self) -> Iterator[DataSegment]:
        """Weights and tables as data of the firmware."""
        for address, data in self.layout.weights(self.checkpoint):
            yield DataSegment("hbm", address, "raw8", data.tobytes())

    def write_image(self, path: Path) -> Image:
        """Writes weights and tables into a file of their own, which the firmware refers to."""
        pieces = list(self.layout.weights(self.checkpoint))
        base = min(address for address, _ in pieces)
        with path.open("wb") as file:
            for address, data in pieces:
                file.seek(address - base)
                file.write(data.tobytes())
        image = Image.of(path, base)
        self.firmware.images.append(image)
        return image


def compile_generation(
    model: Checkpoint | str | Path,
    description: dict[str, Any],
    plan: GenerationPlan,
    *,
    prompt_length: int,
    batch: int = 1,
    padding: NDArray[np.bool_] | None = None,
) -> Compilation:
    """Compiles a generation for a machine.

    Args:
        model: A checkpoint, its directory, or the name of a random model.
        description: `Platform.description()`; its first core runs the generation.
        plan: What to generate.
        prompt_length: P.
        batch: B.
        padding: Which prompt tokens are seen, (B, P); None: all.

    Raises:
        CompileError: What is not supported, or which tensor does not fit where.
    """
    checkpoint = model if isinstance(model, Checkpoint) else load_model(model)
    spec = checkpoint.spec
    faults = plan_faults(plan)
    length = prompt_length + plan.gen_length
    if prompt_length < 1 or batch < 1:
        faults.append(f"prompt_length {prompt_length} and batch {batch}, allowed: 1 or more")
    if length > spec.max_length:
        faults.append(f"{length} positions, the model has {spec.max_length}")
    if faults:
        raise CompileError(faults)
    program = fuse(build(spec))
    geometry = Geometry.of(description)
    rows = 2 * batch if plan.cfg_scale else batch
    if padding is not None and rows != batch:
        padding = np.concatenate([padding, padding])
    shape = Shape(rows, batch, prompt_length, length, most_calls(plan))
    sampler = Sampler.of(plan, spec)
    layout = Layout(spec, shape, geometry, sampler.edited)
    memory = Memory(geometry, shape, plan, sampler)
    asm = Assembly()
    phases = Forward(asm, layout, memory.tokens, sampler, memory.words, memory.candidates)
    control = Control(asm, phases, spec, plan, shape, memory)
    control.program(padding is not None)
    firmware = assemble(asm.text)
    firmware.segments += layout.constants(padding)
    at = layout.addresses
    for tensor in (
        Tensor("tokens", "hbm", at["tokens"], "raw32", (length, rows), "inout"),
        Tensor("canvas_log", "hbm", at["canvas_log"], "raw32", (shape.calls, length, rows), "out"),
        Tensor(
            "transfer_log", "hbm", at["transfer_log"], "bf16", (shape.calls, batch, length), "out"
        ),
        Tensor("call_log", "hbm", at["call_log"], "raw32", (shape.calls, LOG_WORDS), "out"),
    ):
        firmware.tensors[tensor.name] = tensor
    return Compilation(
        checkpoint, plan, shape, program, layout, asm.text, control.earlier_positions, firmware
    )


def compile_model(
    model: Checkpoint | str | Path,
    platform: "Platform",
    plan: GenerationPlan,
    *,
    prompt_length: int = 32,
    batch: int = 1,
) -> Firmware:
    """Firmware that generates with a model, weights included.

    Args:
        model: A checkpoint, its directory, or the name of a random model.
        platform: Runs it.
        plan: What to generate.
        prompt_length: Tokens of a prompt, P.
        batch: Prompts, B.

    Returns:
        A firmware whose tensor ``tokens`` (P + G, B) holds prompts and masks before a run and the
        text behind it; under guidance (P + G, 2 B), in the second half with masks for prompts.

    Raises:
        CompileError: What is not supported, or which tensor does not fit where.
    """
    compilation = compile_generation(
        model, platform.description(), plan, prompt_length=prompt_length, batch=batch
    )
    compilation.firmware.segments += compilation.weight_segments()
    return compilation.firmware
