"""Closed forms of what follows the layers: the head, sampling, and the beginning of a call."""

from npuvp.analytical.phases import BF16_BYTES, Phases
from npuvp.analytical.schedule import Work, body, repeat

__all__ = ["ForwardCall"]


class ForwardCall(Phases):
    """Closed forms of all phases of a forward call."""

    def head(self) -> Work:
        """Maximum, token and sum of exponentials over the vocabulary."""
        spec, g, call, h = self.spec, self.geometry, self.call, self.hardware
        blocks = -(-spec.hidden // g.width)
        rows_in_all = call.span * call.batch
        total = self._load(1, BF16_BYTES * spec.hidden)
        total.add(self._load(1, BF16_BYTES * g.width))
        total.add(body(h, "fm fm im int int br", call.span * call.samples))
        most = self._tile_rows("head", blocks + 1, blocks + self.layout.head_rows)
        pitch = most * g.width
        done = 0
        for rows, times in self._tiles(most, rows_in_all):
            tile = self._move(rows, spec.hidden)
            tile.add(self._norm(rows, blocks, pitch))
            text = "fm fm im fp vmaxi1. fp. fexp. fp. vadd2. vexp2. vsum1. fm. fm im int" + (
                " int int br" if call.batch > 1 else ""
            )
            compute = self._rows_loop(text, 1, rows)
            # The tile's first row is divided by the batch, by subtraction.
            before = done + rows * (times - 1) / 2
            if call.batch > 1:
                compute.add(body(h, "br int int br", before / call.batch))
            done += rows * times
            tile.add(
                self._product(
                    rows,
                    self.layout.stored["head"],
                    spec.vocab,
                    "head",
                    pitch,
                    0,
                    (Work(), compute, Work()),
                )
            )
            total.add(tile, times)
        total.add(body(h, "fm freci. fm. int int br", call.span * call.samples))
        return total

    def _elements(self, timing: str, elements: float) -> Work:
        """An instruction that streams elements."""
        h = self.hardware
        interval, latency, per = h.classes.costs[timing]
        cycles = max(interval, latency) + per * elements
        spent = h.energy.instructions.of(timing, elements)
        return Work(cycles, spent, cycles)

    def sampling(self) -> Work:
        """What is committed, per row of the batch, and the record of the call."""
        call, h = self.call, self.hardware
        pieces = 1 if call.batch == 1 else call.span
        row = self._load(pieces, 4 * call.span / pieces, 4 * call.batch)
        row.add(body(h, repeat("int", 50) + " im im im im im br br br br"))
        row.add(self._elements("vector_compare", call.span))
        row.add(self._elements("vector_topk", call.span))
        row.add(self._elements("vector_select_int", call.span))
        row.add(self._elements("vector_compare", call.block))
        row.add(self._elements("vector_count", -(-call.block // h.vlen)))
        row.add(self._store(pieces, 4 * call.span / pieces, 4 * call.batch))
        row.add(self._store(1, BF16_BYTES * call.span))
        total = Work()
        total.add(row, call.samples)
        total.add(body(h, repeat("im int", 16) + repeat(" int", 16)))
        total.add(self._load(1, 4 * call.batch * call.length))
        total.add(self._store(1, 4 * call.batch * call.length))
        return self._fence(total)

    def begin(self) -> Work:
        """What the call computes; the search for masks before the block."""
        call, h = self.call, self.hardware
        total = body(h, repeat("int", 24) + repeat(" im", 14) + repeat(" br", 4))
        if call.pieces:
            count = call.earlier * call.samples
            pieces = 1 if call.batch == call.samples else call.earlier
            piece = self._load(pieces, 4 * count / pieces, 4 * call.batch)
            piece.add(self._elements("vector_compare", count))
            piece.add(self._elements("vector_count", -(-count // h.vlen)))
            piece.add(body(h, repeat("int", 14)))
            total.add(piece, call.pieces)
        return total
