"""What can be compared: how keys and values are cached, and how precisely tokens are chosen.

======================= ============================================================================
``bf16``                cache in BF16: what the others are held against
``FORMAT``              cache in a microscaling format, as it comes
``static[-FORMAT]``     divided by factors per channel that were found offline and never change
``rotation[-FORMAT]``   keys and queries turned by a Hadamard matrix
``baos[-FORMAT]``       divided by factors that every warm pass takes anew (`npuvp.baos`)
``sampling-PRECISION``  cache in BF16; logits and confidences in another precision
======================= ============================================================================

FORMAT is mxint8, mxint4, mxfp8, mxfp8_e4m3, mxfp8_e5m2, mxfp6, mxfp6_e2m3, mxfp6_e3m2, mxfp4 or
mxfp4_e2m1; without one a method means MXINT4. Factors are rounded as suits the format, or to powers
of two where ``-pow2`` follows a format, to BF16 numbers where ``-bf16`` follows (``baos-mxfp4-bf16``):
the names of a plan's `kv_format`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from npuvp.baos import CacheFormat, Factors, kv_block
from npuvp.golden.mx import mx_element_bytes, mx_scale_bytes
from npuvp.model.spec import ModelSpec
from npuvp.plan import GenerationPlan

__all__ = ["DEFAULT_SCHEMES", "FORMATS", "METHODS", "PRECISIONS", "Scheme", "SchemeError"]

Method = Literal["plain", "static", "rotation", "baos"]
Precision = Literal["machine", "fp64", "fp32", "bf16", "mxfp8"]

METHODS: tuple[Method, ...] = ("static", "rotation", "baos")
PRECISIONS: tuple[Precision, ...] = ("fp64", "fp32", "bf16", "mxfp8")
FORMATS = {
    "mxint8": "mxint8",
    "mxint4": "mxint4",
    "mxfp8": "mxfp8_e4m3",
    "mxfp8_e4m3": "mxfp8_e4m3",
    "mxfp8_e5m2": "mxfp8_e5m2",
    "mxfp6": "mxfp6_e2m3",
    "mxfp6_e2m3": "mxfp6_e2m3",
    "mxfp6_e3m2": "mxfp6_e3m2",
    "mxfp4": "mxfp4_e2m1",
    "mxfp4_e2m1": "mxfp4_e2m1",
}
"""Microscaling formats that a cache can hold, by the names that are accepted."""
DEFAULT_SCHEMES = "bf16,mxint8,mxfp6,mxint4,mxfp4,static,rotation,baos,baos-mxint4-pow2,baos-mxfp4"


class SchemeError(ValueError):
    """Schemes that do not exist or do not fit model and plan; the message lists every fault.

    Attributes:
        faults: One line each.
    """

    def __init__(self, faults: Sequence[str]):
        super().__init__("the schemes cannot be compared:\n  " + "\n  ".join(faults))
        self.faults = list(faults)


@dataclass(frozen=True)
class Scheme:
    """One way to cache and to sample.

    Attributes:
        name: As it was given.
        element: MX format of the cache, or "bf16".
        method: What is done to keys and values before they are quantised.
        factors: How factors are rounded; None: as suits the element.
        sampling: ``machine``: BF16 logits and exponentials, float32 sums, as the firmware;
            ``fp64``, ``fp32``: logits and softmax in that precision; ``bf16``: BF16 logits and
            probabilities; ``mxfp8``: MXFP8 (E4M3) logits, then as the machine.
    """

    name: str
    element: str = "bf16"
    method: Method = "plain"
    factors: Factors | None = None
    sampling: Precision = "machine"

    @classmethod
    def parse(cls, name: str) -> "Scheme":
        """From a name of the table above.

        Raises:
            SchemeError: No such scheme.
        """
        if name == "bf16":
            return cls(name)
        if name in FORMATS:
            return cls(name, FORMATS[name])
        head, *rest = name.split("-")
        if head == "sampling" and len(rest) == 1 and rest[0] in PRECISIONS:
            return cls(name, sampling=PRECISIONS[PRECISIONS.index(rest[0])])
        if head in METHODS:
            method = METHODS[METHODS.index(head)]
            if not rest:
                return cls(name, "mxint4", method)
            rounded: Factors | None = None
            for known in get_args(Factors):
                if method != "rotation" and rest[1:] == [known]:
                    rounded, rest = known, rest[:1]
            if len(rest) == 1 and rest[0] in FORMATS:
                return cls(name, FORMATS[rest[0]], method, rounded)
        raise SchemeError(
            [
                f"{name!r}: no such scheme, allowed: bf16; a format ({', '.join(FORMATS)}); "
                f"{', '.join(METHODS)}, alone, with '-' and a format, or (static, baos) with "
                "'-pow2' or '-bf16' behind that; "
                f"{', '.join('sampling-' + p for p in PRECISIONS)}"
            ]
        )

    @classmethod
    def parse_all(cls, names: str | Sequence[str]) -> list["Scheme"]:
        """From a list, or from text with commas.

        Raises:
            SchemeError: Names that do not exist or stand twice, or none; all of them.
        """
        listed = names.split(",") if isinstance(names, str) else list(names)
        listed = [name.strip() for name in listed if name.strip()]
        faults = [] if listed else ["no scheme is named"]
        schemes = []
        for index, name in enumerate(listed):
            try:
                schemes.append(cls.parse(name))
            except SchemeError as error:
                faults += error.faults
            if name in listed[:index]:
                faults.append(f"{name!r}: named twice")
        if faults:
            raise SchemeError(faults)
        return schemes

    @property
    def quantised(self) -> bool:
        """Whether the cache holds MX blocks."""
        return self.element != "bf16"

    @property
    def cache(self) -> CacheFormat:
        """What its keys and values are kept in."""
        return CacheFormat(self.element, self.method in ("static", "baos"), self.factors)

    def faults(self, spec: ModelSpec, plan: GenerationPlan, block: int | None = None) -> list[str]:
        """Why this scheme cannot serve a model under a plan, one line each.

        Args:
            spec, plan: What it is to serve.
            block: Channels that share a scale; None: the machine's choice.
        """
        faults = []
        if self.quantised:
            if plan.cache == "none":
                faults.append(
                    f"{self.name!r} with cache 'none': nothing is cached that it could quantise, "
                    "allowed: prefix, dual"
                )
            if self.method == "baos" and plan.cache == "block":
                faults.append(
                    f"{self.name!r} with cache 'block': finished blocks are never computed again, "
                    "so there is no warm pass to take factors from, allowed: prefix, dual"
                )
            try:
                self.block(spec, block)
            except ValueError as error:
                faults.append(f"{self.name!r}: {error}")
            if self.method == "rotation" and spec.head_dim & (spec.head_dim - 1):
                faults.append(
                    f"{self.name!r}: head_dim {spec.head_dim}, allowed: a power of two "
                    "(Hadamard matrices of other sizes are not built)"
                )
        published = ("llada", "fast-dllm-2025", "fast-dllm-2026")
        if self.sampling != "machine" and plan.revision not in published:
            faults.append(
                f"{self.name!r} with revision {plan.revision!r}, allowed: {', '.join(published)}"
            )
        if self.sampling != "machine" and plan.remasking != "low_confidence":
            faults.append(
                f"{self.name!r} with remasking {plan.remasking!r}: positions are not ranked by "
                "confidence, allowed: low_confidence"
            )
        return faults

    def block(self, spec: ModelSpec, block: int | None = None) -> int:
        """Channels that share a scale.

        Raises:
            ValueError: Blocks do not divide a head.
        """
        if block is None:
            return kv_block(spec.head_dim)
        if block < 1 or spec.head_dim % block:
            raise ValueError(
                f"block of {block} channels, allowed: a divisor of head_dim = {spec.head_dim}"
            )
        return block

    def kv_bytes(
        self, spec: ModelSpec, plan: GenerationPlan, prompt: int, block: int | None
    ) -> int:
        """Bytes of the cache of one row of the batch when it is largest, factors included.

        Static factors and the rotation belong to the model and are not counted.

        Args:
            spec, plan: Model and plan.
            prompt: Length of the prompt.
            block: As in `faults`.
        """
        length = prompt + plan.gen_length
        rows = {"none": 0, "prefix": length - plan.block_length}.get(plan.cache, length)
        heads = spec.layers * spec.kv_heads * 2
        if not self.quantised:
            return heads * rows * 2 * spec.head_dim
        row = mx_element_bytes(self.element, spec.head_dim)
        row += mx_scale_bytes(self.element, self.block(spec, block), spec.head_dim)
        factors = 2 * spec.head_dim if self.method == "baos" else 0
        return heads * (rows * row + factors)
