; The K largest of EXPERTS router logits per row, largest first, and their softmax weights: over the
; selected ones (MODE 0) or over all, not renormalised (MODE 1, as LLaDA-MoE does with 8 of 64).
; logits [ROWS, EXPERTS] BF16, experts [ROWS, K] raw32, weights [ROWS, K] FP32.
    .include "common.inc"
    .default ROWS, 5
    .default EXPERTS, 64
    .default K, 8
    .default MODE, 1
    .equ SPAN, ceildiv(EXPERTS, W) * W

    activation logits, ROWS, EXPERTS, in
    .tensor experts, hbm, auto, raw32, ROWS, K, out
    .tensor weights, hbm, auto, fp32, ROWS, K, out

        LIA a0, logits, rTemp
        set_csr dma_format, BF16
        set_csr dma_len, EXPERTS
        LI rRows, ROWS
        LI rX, 0
        H_LD_V rX, gp0, a0, rRows, 0
        set_csr topk_mode, MODE
        LI rY, 0
        LI rStep, EXPERTS
        LI rTile, K
        C_LOOP_START rOuter, ROWS
            V_TOPK_N rY, rX, rY, rStep, rTile
            S_ADDI_INT rX, rX, SPAN
            S_ADDI_INT rY, rY, K
        C_LOOP_END rOuter
        set_csr dma_len, ROWS * K
        set_csr dma_format, FP32
        LI rRows, 1
        LIA a0, experts, rTemp
        H_ST_INT gp0, gp0, a0, rRows, 0
        LIA a0, weights, rTemp
        H_ST_FP gp0, gp0, a0, rRows, 0
        C_HALT gp0
