"""How the keys of a canvas are divided into tiles that fit the SRAMs.

A canvas whose keys and values fit Matrix SRAM is one tile. Others are tiles of one length, keys of
the next one loaded while the last one's are multiplied; the last tile ends with the canvas, and its
mask hides the keys that the tile before it has as well.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from npuvp.compiler.errors import CompileError
from npuvp.compiler.geometry import Geometry
from npuvp.model.spec import ModelSpec

__all__ = ["KeyTiles", "heads_together"]

#: Buffers of scores: of the unit that they are computed for, of one that waits, of the one in softmax.
SCORES = 3


def heads_together(spec: ModelSpec, geometry: Geometry, batch: int, cores: int = 1) -> int:
    """Heads whose keys and values are moved as one row of Matrix SRAM.

    More than one where every head has queries of its own and its outputs are whole products, and not
    so many that one of the cores would have nothing to do.
    """
    if spec.group > 1 or spec.head_dim % geometry.blen:
        return 1
    items = batch * spec.kv_heads
    return max(
        n
        for n in range(1, spec.kv_heads + 1)
        if spec.kv_heads % n == 0
        and (n == 1 or (n * spec.head_dim <= geometry.mlen and items // n >= cores))
    )


@dataclass(frozen=True)
class KeyTiles:
    """Tiles of keys.

    Attributes:
        geometry: Of the core.
        length: Keys in all, L.
        keys: Of a tile; all tiles have as many.
        count: Tiles.
        together: Heads that are moved together; 1 where there are several tiles, whose running
            maxima and sums are kept for one head at a time, and where Vector SRAM has no room.
        buffers: Tiles of keys that there is room for.
    """

    geometry: Geometry
    length: int
    keys: int
    count: int
    together: int
    buffers: int

    @classmethod
    def plan(
        cls, spec: ModelSpec, geometry: Geometry, batch: int, length: int, cores: int
    ) -> "KeyTiles":
        """One tile if it fits, or else the fewest that do.

        Raises:
            CompileError: Not even the smallest tile fits.
        """
        together = heads_together(spec, geometry, batch, cores)
        for heads, buffers in ((together, 2), (together, 1), (1, 2), (1, 1)):
            whole = cls(geometry, length, length, 1, heads, buffers)
            if whole.fits:
                return whole
        most = -(-length // geometry.blen)
        for count in range(2, most + 1):
            keys = -(-length // (count * geometry.blen)) * geometry.blen
            tiles = cls(geometry, length, keys, count, 1, 2)
            if keys <= length and tiles.fits:
                return tiles
        least = cls(geometry, length, min(length, geometry.blen), most, 1, 2)
        raise CompileError(
            [
                f"keys and values of a head, {length} x {spec.head_dim}: a tile of {least.keys} keys "
                f"takes {least.matrix_tiles} tiles of Matrix SRAM, {least.vector_rows} rows of Vector "
                f"SRAM and {least.fp_words} words of FP SRAM, which have "
                f"{geometry.matrix_rows // geometry.mlen}, {geometry.vector_rows} and "
                f"{geometry.fp_words}"
            ]
        )

    @property
    def parts(self) -> int:
        """Tiles of Matrix SRAM that the values of a tile take."""
        return -(-self.keys // self.geometry.mlen)

    @property
    def blocks(self) -> int:
        """Rows of Vector SRAM that a lane for every key of a tile takes."""
        return -(-self.keys // self.geometry.width)

    @property
    def key_rows(self) -> int:
        """Rows of Matrix SRAM of a buffer of keys."""
        return -(-self.keys // self.geometry.blen) * self.geometry.blen

    @property
    def values_tile(self) -> int:
        """Tile of Matrix SRAM at which values begin."""
        return -(-self.buffers * self.key_rows // self.geometry.mlen)

    @property
    def matrix_tiles(self) -> int:
        """Tiles of Matrix SRAM in all."""
        return self.values_tile + self.parts

    @property
    def score_pitch(self) -> int:
        """Elements from one block of scores to the next: a group of rows, and one that is free."""
        return (self.geometry.group + 1) * self.geometry.width

    @property
    def vector_rows(self) -> int:
        """Rows of Vector SRAM: two groups of queries and of outputs, three of scores; where heads lie
        together two of the queries of one head and the lanes of each; where there are several tiles
        the outputs of one; two masks of keys, a row of the lowest number, two of factors."""
        group = self.geometry.group
        rows = 4 * group + SCORES * self.blocks * (group + 1) + 2 * self.blocks + 3
        if self.together > 1:
            rows += 2 * group + self.together
        if self.count > 1:
            rows += group
        return rows

    @property
    def fp_words(self) -> int:
        """Words of FP SRAM: where there are several tiles what a row begins with, a maximum and a
        sum for every row, and two factors of earlier outputs."""
        return 0 if self.count == 1 else 2 + 4 * (self.geometry.group + 1)

    @property
    def fits(self) -> bool:
        """Whether the SRAMs have room."""
        geometry = self.geometry
        return (
            self.matrix_tiles * geometry.mlen <= geometry.matrix_rows
            and self.vector_rows <= geometry.vector_rows
            and self.fp_words <= geometry.fp_words
        )

    @property
    def starts(self) -> list[int]:
        """First key of every tile."""
        return [min(tile * self.keys, self.length - self.keys) for tile in range(self.count)]

    @property
    def has_hidden(self) -> list[bool]:
        """For every block of a tile's lanes, whether some are no key, or one of the tile before."""
        width = self.geometry.width
        overlap = self.count * self.keys - self.length
        return [
            block * width < overlap or (block + 1) * width > self.keys
            for block in range(self.blocks)
        ]

    def mask(self, seen: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Which lanes count, of every tile.

        Args:
            seen: By key, shape (masks, L).

        Returns:
            1 where a key is seen, else 0, shape (masks, count * blocks * width).
        """
        lanes = np.zeros((len(seen), self.count, self.blocks * self.geometry.width), np.float32)
        for tile, start in enumerate(self.starts):
            keys = np.arange(start, start + self.keys)
            lanes[:, tile, : self.keys] = seen[:, keys] & (keys >= tile * self.keys)
        return lanes.reshape(len(seen), -1)
