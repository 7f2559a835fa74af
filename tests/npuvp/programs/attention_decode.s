; One query position of grouped-query attention: HEADS = VLEN / HEAD query heads share a key and
; value head of HEAD lanes. q [1, VLEN], k and v [KEYS, HEAD], y [HEADS, HEAD], BF16.
    .include "common.inc"
    .default KEYS, 2 * VLEN
    .equ HEADS, VLEN / HEAD
    .equ TILES, KEYS / W
    .equ PADDED, align(HEADS, GROUP)            ; rows that a product reads
    .assert HEAD % BLEN == 0, "a head is a whole number of blocks"

    activation q, 1, W, in
    .tensor k, hbm, auto, bf16, KEYS, HEAD, in
    .tensor v, hbm, auto, bf16, KEYS, HEAD, in
    .tensor y, hbm, auto, bf16, HEADS, HEAD, out

    .equ Q, 0
    .equ SCORES, W
    .equ Y, SCORES + PADDED * KEYS
    .macro head_tiles NAME
        LIA a1, \NAME, rTemp
        set_csr dma_format, BF16
        set_csr dma_len, HEAD
        set_csr dma_pitch, 2 * HEAD
        .rept TILES, t
            LI rAt, \t * TILE
            LI rOffset, \t * W * 2 * HEAD
            LI rRows, W
            H_LD_M rAt, rOffset, a1, rRows, 1
        .endr
    .endm
        set_csr head_len, HEAD
        set_csr bmm_scale, f32(1.0 / sqrt(HEAD))
        load_rows q, Q, 1, W
        head_tiles k
        LI rX, Q
        .rept TILES, t
            LI rTile, \t * TILE
            M_BTMV gp0, rTile, rX
            LI rY, SCORES + \t * PADDED * W
            M_BMV_WO rY, 0
        .endr
        softmax SCORES, HEADS, TILES, PADDED * W
        head_tiles v
        multiply_tiles 0, SCORES, Y, PADDED, TILES, HEAD
        LIA a0, y, rTemp
        set_csr dma_len, HEAD
        LI rAt, Y
        LI rRows, HEADS
        H_ST_V rAt, gp0, a0, rRows, 0
        C_HALT gp0
