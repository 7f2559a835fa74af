"""Intermediate representation of one forward call.

Values are two-dimensional: rows are tokens (position-major over the batch), columns channels. A
`Program` is first a list of single operations (`build`), then of fused phases (`fuse`), each of
which streams its weights once per tile of rows. Layers are identical, so the program holds one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Operation", "Phase", "Program", "Value"]

Kind = Literal[
    "embed",
    "rmsnorm",
    "linear",
    "bias",
    "headnorm",
    "rope",
    "route",
    "keep",
    "attention",
    "silu_mul",
    "add",
    "head_sample",
]


@dataclass(frozen=True)
class Value:
    """An activation.

    Attributes:
        name: Unique within the layer.
        columns: Channels.
        format: Number format in memory.
    """

    name: str
    columns: int
    format: str = "bf16"

    def __str__(self) -> str:
        return f"%{self.name}: {self.format}[tokens, {self.columns}]"


@dataclass(frozen=True)
class Operation:
    """One tensor operation.

    Attributes:
        kind: What it does.
        inputs: Values it reads.
        output: Value it makes; `keep` and `head_sample` make none.
        weight: Role of the weight tensor, if any.
        layered: Whether it belongs to the layer that is repeated.
    """

    kind: Kind
    inputs: tuple[Value, ...]
    output: Value | None = None
    weight: str | None = None
    layered: bool = True

    def __str__(self) -> str:
        arguments = [f"%{value.name}" for value in self.inputs]
        if self.weight:
            arguments.append(f"@{self.weight}")
        call = f"{self.kind}({', '.join(arguments)})"
        return call if self.output is None else f"{self.output} = {call}"


@dataclass(frozen=True)
class Phase:
    """Operations that run over one tile of rows without going through memory in between.

    Attributes:
        name: For marks and listings.
        operations: In order.
    """

    name: str
    operations: tuple[Operation, ...]

    @property
    def layered(self) -> bool:
        """Whether the phase belongs to the layer that is repeated."""
        return self.operations[0].layered


@dataclass
class Program:
    """A forward call.

    Attributes:
        operations: Single operations.
        phases: What they were fused to; empty before `fuse`.
        layers: How often the layered part runs.
    """

    operations: list[Operation]
    layers: int
    phases: list[Phase] = field(default_factory=list)

    def dump(self) -> Iterator[str]:
        """Lines of a listing."""
        inside = False
        parts = self.phases or [Phase("", (operation,)) for operation in self.operations]
        for phase in parts:
            if phase.layered and not inside:
                yield f"repeat {self.layers} layers {{"
            elif inside and not phase.layered:
                yield "}"
            inside = phase.layered
            indent = "  " if inside else ""
            if phase.name:
                yield f"{indent}phase {phase.name}:"
                indent += "  "
            for operation in phase.operations:
                yield f"{indent}{operation}"
        if inside:
            yield "}"
