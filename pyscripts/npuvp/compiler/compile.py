"""The compiler's passes in order."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from npuvp.compiler.assembly import Assembly
from npuvp.compiler.blocks import BlockControl
from npuvp.compiler.build import build, fuse
from npuvp.compiler.control import LOG_WORDS, Control
from npuvp.compiler.dream import DreamControl
from npuvp.compiler.errors import CompileError
from npuvp.compiler.formats import Formats
from npuvp.compiler.frame import Frame, frame_faults, sharing_cores
from npuvp.compiler.head import Forward
from npuvp.compiler.heads import with_filled_heads
from npuvp.compiler.ir import Program
from npuvp.compiler.layout import Geometry, Layout, Shape
from npuvp.compiler.selection import Memory
from npuvp.compiler.state import PHASES
from npuvp.firmware import ALL_CORES, DataSegment, Firmware, Image, Tensor
from npuvp.isa import assemble
from npuvp.model.checkpoint import Checkpoint, SafetensorsCheckpoint, load_model
from npuvp.model.quantised import read_quantisation
from npuvp.plan import GenerationPlan, quotas

if TYPE_CHECKING:
    from npuvp.platform import Platform

__all__ = ["Compilation", "compile_generation", "compile_model", "formats_of"]


_CONTROLS: dict[str, type[Control]] = {"dream": DreamControl, "fast-dllm-v2": BlockControl}


@dataclass
class Compilation:
    """A compiled generation.

    Attributes:
        checkpoint, plan, shape: What was compiled.
        program: The forward call, fused.
        layout: Of HBM.
        assembly: Source text.
        earlier_positions: Positions before a block that are searched for masks at once.
        embedded_rows: Rows that a core fetches from the embedding at once.
        memory: What sampling holds in the SRAMs of the first core.
        firmware: Without the weights.
    """

    checkpoint: Checkpoint
    plan: GenerationPlan
    shape: Shape
    program: Program
    layout: Layout
    assembly: str
    earlier_positions: int
    embedded_rows: int
    memory: Memory
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
        plan = self.plan
        if plan.revision in _CONTROLS or plan.threshold is not None or plan.factor is not None:
            raise CompileError(
                [
                    "threshold, factor, Dream or Fast-dLLM v2: the number of calls depends on the data"
                ]
            )
        return {core: self._decisions(core) for core in range(self.layout.cores)}

    def _decisions(self, core: int) -> list[tuple[int, int]]:
        plan, shape = self.plan, self.shape
        at = {
            s.name: s.value
            for s in self.firmware.symbols.values()
            if s.section == "text" and s.core in (core, ALL_CORES)
        }
        taken: list[tuple[int, int]] = []
        counts = quotas([plan.block_length] * shape.samples, plan.steps_per_block)
        for block in range(plan.blocks):
            if core == 0:
                taken += [(at["decide_quota"], plan.block_length)] * shape.samples
            start = shape.prompt + block * plan.block_length
            left = counts.sum()
            for step in range(plan.steps_per_block):
                sees_earlier = step == 0 or plan.cache == "none"
                # Tokens that an earlier call stored; which row of the embedding matters to no time.
                first = 0 if sees_earlier else start
                written = start + (plan.block_length if step else 0)
                if sees_earlier:
                    pieces = -(-start // self.earlier_positions)
                    taken += [(at["decide_earlier"], 0)] * pieces
                if block or step:
                    low = (max(first, shape.prompt) - first) * shape.batch
                    count = self._embedded(core, low, (written - first) * shape.batch)
                    taken += [(at["decide_row"], self.checkpoint.spec.mask_id)] * count
                left -= counts[:, step].sum()
                last = step + 1 == plan.steps_per_block
                dual = plan.cache == "dual" and plan.revision == "fast-dllm-2026"
                if plan.revision != "llada" and not (last and dual):
                    taken.append((at["decide_left"], int(left)))
                    if left == 0:
                        break
        return taken

    def _embedded(self, core: int, low: int, high: int) -> int:
        """How many of the rows low..high-1 of a call a core fetches from the embedding."""
        cores, rows = self.layout.cores, np.arange(low, high)
        return int((rows // self.embedded_rows % cores == core).sum()) if cores > 1 else len(rows)

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


def formats_of(
    model: Checkpoint, formats: Formats | Mapping[str, Any] | str | Path | None
) -> Formats:
    """Number formats of a generation: those given, else those for which `npuvp quantise` made the
    checkpoint (its config.json names them), else BF16.

    Raises:
        CompileError, ModelError: They are malformed.
    """
    if formats is None and isinstance(model, SafetensorsCheckpoint):
        entry = read_quantisation(model.directory)
        if entry is not None:
            return Formats.of({key: value for key, value in entry.items() if key != "quant_method"})
    return Formats.of(formats)


def compile_generation(
    model: Checkpoint | str | Path,
    description: dict[str, Any],
    plan: GenerationPlan,
    *,
    prompt_length: int,
    batch: int = 1,
    padding: NDArray[np.bool_] | None = None,
    formats: Formats | Mapping[str, Any] | str | Path | None = None,
    cores: int | None = None,
    host_driven: bool = False,
) -> Compilation:
    """Compiles a generation for a machine.

    Args:
        model: A checkpoint, its directory, or the name of a random model.
        description: `Platform.description()`.
        plan: What to generate.
        prompt_length: P.
        batch: B.
        padding: Which prompt tokens are seen, (B, P); None: all.
        formats: Number formats by class of tensors, a mapping or a YAML file; None: those that a
            quantised checkpoint names, else BF16.
        cores: How many of the platform's cores share the work; None: all.
        host_driven: The host launches every forward call (`npuvp.compiler.host_driven`).

    Raises:
        CompileError: What is not supported, or which tensor does not fit where.
    """
    checkpoint = model if isinstance(model, Checkpoint) else load_model(model)
    numbers = formats_of(checkpoint, formats)
    checkpoint = with_filled_heads(checkpoint, description["cores"][0]["parameters"]["mlen"])
    spec = checkpoint.spec
    faults = frame_faults(spec, plan, numbers, prompt_length, batch)
    present = len(description["cores"])
    cores, wrong = sharing_cores(present, cores)
    faults += wrong
    if faults:
        raise CompileError(faults)
    program = fuse(build(spec))
    geometry = Geometry.of(description, cores)
    rows = 2 * batch if plan.cfg_scale else batch
    if padding is not None and rows != batch:
        padding = np.concatenate([padding, padding])
    frame = Frame.of(
        spec,
        plan,
        geometry,
        numbers,
        prompt_length=prompt_length,
        batch=batch,
        cores=cores,
        padding=padding,
    )
    shape, layout, sampler, memory = frame.shape, frame.layout, frame.sampler, frame.memory
    # Names of the phase mark's values, for profiles and timelines.
    texts = [f".equ MARK_PHASE_{name.upper()}, {i}\n" for i, name in enumerate(PHASES)]
    for core in range(cores):
        asm = Assembly()
        if present > 1:
            asm.lines.append(f".core {core}")
        phases = Forward(
            asm,
            layout,
            memory.tokens,
            sampler,
            memory.words,
            memory.candidates,
            core,
            memory.bounds,
        )
        control = _CONTROLS.get(plan.revision, Control)(asm, phases, spec, plan, shape, memory)
        control.host_driven = host_driven
        control.program(padding is not None)
        texts.append(asm.text)
    text = "".join(texts)
    firmware = assemble(text)
    firmware.segments += layout.constants(padding)
    at = layout.addresses
    for tensor in (
        Tensor("tokens", "hbm", at["tokens"], "raw32", (shape.length, rows), "inout"),
        Tensor(
            "canvas_log", "hbm", at["canvas_log"], "raw32", (shape.calls, shape.length, rows), "out"
        ),
        Tensor(
            "transfer_log",
            "hbm",
            at["transfer_log"],
            "bf16",
            (shape.calls, batch, shape.length),
            "out",
        ),
        Tensor("call_log", "hbm", at["call_log"], "raw32", (shape.calls, LOG_WORDS), "out"),
    ):
        firmware.tensors[tensor.name] = tensor
    return Compilation(
        checkpoint,
        plan,
        shape,
        program,
        layout,
        text,
        memory.earlier_positions,
        phases.embedded_rows,
        memory,
        firmware,
    )


def compile_model(
    model: Checkpoint | str | Path,
    platform: "Platform",
    plan: GenerationPlan,
    *,
    prompt_length: int = 32,
    batch: int = 1,
    formats: Formats | Mapping[str, Any] | str | Path | None = None,
    cores: int | None = None,
) -> Firmware:
    """Firmware that generates with a model, weights included.

    Args:
        model: A checkpoint, its directory, or the name of a random model.
        platform: Runs it.
        plan: What to generate.
        prompt_length: Tokens of a prompt, P.
        batch: Prompts, B.
        formats, cores: As in `compile_generation`.

    Returns:
        A firmware whose tensor ``tokens`` (P + G, B) holds prompts and masks before a run and the
        text behind it; under guidance (P + G, 2 B), in the second half with masks for prompts.

    Raises:
        CompileError: What is not supported, or which tensor does not fit where.
    """
    compilation = compile_generation(
        model,
        platform.description(),
        plan,
        prompt_length=prompt_length,
        batch=batch,
        formats=formats,
        cores=cores,
    )
    compilation.firmware.segments += compilation.weight_segments()
    return compilation.firmware
