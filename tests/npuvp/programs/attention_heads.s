; Prefill of grouped-query attention with the batched products: HEADS = VLEN / HEAD query heads share
; one key and value head of HEAD lanes. q and y [VLEN, HEADS * HEAD], k and v [VLEN, HEAD], BF16.
    .include "common.inc"
    .equ HEADS, VLEN / HEAD
    .assert HEAD % BLEN == 0, "a head is a whole number of blocks"

    activation q, W, W, in
    .tensor k, hbm, auto, bf16, W, HEAD, in
    .tensor v, hbm, auto, bf16, W, HEAD, in
    activation y, W, W, out

    .equ Q, 0
    .equ SCORES, W * W
    .equ Y, SCORES + HEADS * W * W
    .macro head_tile NAME, NUMBER
        LIA a1, \NAME, rTemp
        set_csr dma_format, BF16
        set_csr dma_len, HEAD
        set_csr dma_pitch, 2 * HEAD
        LI rAt, (\NUMBER) * TILE
        LI rRows, W
        H_LD_M rAt, gp0, a1, rRows, 1
    .endm
        set_csr head_len, HEAD
        set_csr bmm_scale, f32(1.0 / sqrt(HEAD))
        load_rows q, Q, W, W
        head_tile k, 0
        head_tile v, 1
        LI rX, Q
        M_BTMM 0, gp0, rX
        LI rY, SCORES
        M_BMM_WO rY, 0
        softmax SCORES, HEADS * W, 1, W
        ; Column block of every head: rows of its scores times the first HEAD columns of v.
        .rept HEADS, head
            LI rX, SCORES + \head * W * W
            LI rY, Y + \head * HEAD
            C_LOOP_START rOuter, W / GROUP
                MV rYc, rY
                LI rTile, TILE
                C_LOOP_START rInner, HEAD / BLEN
                    M_MM 0, rTile, rX
                    M_MM_WO rYc, gp0, 0
                    S_ADDI_INT rYc, rYc, BLEN
                    LI rTemp, BLEN * W
                    S_ADD_INT rTile, rTile, rTemp
                C_LOOP_END rInner
                LI rTemp, GROUP * W
                S_ADD_INT rX, rX, rTemp
                S_ADD_INT rY, rY, rTemp
            C_LOOP_END rOuter
        .endr
        store_rows y, Y, W, W
        C_HALT gp0
