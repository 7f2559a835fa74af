; y[i] = table[tokens[i]]: tokens [1, COUNT], table [VOCABULARY, HIDDEN] as weights, y [COUNT, HIDDEN].
    .include "common.inc"
    .default COUNT, 7
    .default VOCABULARY, 50
    .default HIDDEN, 2 * VLEN

    .tensor tokens, hbm, auto, raw32, 1, COUNT, in
    weight table, VOCABULARY, HIDDEN
    activation y, COUNT, HIDDEN, out

        LIA a0, tokens, rTemp
        set_csr dma_len, COUNT
        LI rRows, 1
        LI rAt, 3
        H_LD_INT rAt, gp0, a0, rRows, 0
        matrix_memory table, HIDDEN, WEIGHTS, WEIGHT_BITS, WEIGHT_BLOCK
        set_csr dma_len, HIDDEN
        LI rX, W
        LI rRows, COUNT
        H_GATHER_V rX, rAt, a1, rRows, 1
        ; A gathered row takes HIDDEN / VLEN rows of Vector SRAM.
        LIA a0, y, rTemp
        set_csr dma_format, BF16
        set_csr dma_pitch, 0
        H_ST_V rX, gp0, a0, rRows, 2
        C_HALT gp0
