; y = softmax(q . transpose(k) * SCALE) . v of one head of VLEN lanes, both directions (a diffusion
; model masks nothing). q and y [ROWS, VLEN], k and v [KEYS, VLEN], all BF16.
    .include "common.inc"
    .default ROWS, 2 * GROUP
    .default KEYS, 2 * VLEN

    activation q, ROWS, W, in
    activation k, KEYS, W, in
    activation v, KEYS, W, in
    activation y, ROWS, W, out

    .equ Q, 0
    .equ SCORES, ROWS * W
    .equ Y, SCORES + ROWS * KEYS
        load_rows q, Q, ROWS, W
        LIF f3, 1.0 / sqrt(W), rTemp
        LI rX, Q
        C_LOOP_START rOuter, ROWS
            V_MUL_VF rX, rX, f3
            S_ADDI_INT rX, rX, W
        C_LOOP_END rOuter
        linear k, Q, SCORES, ROWS, W, KEYS, BF16, 16, 32
        softmax SCORES, ROWS, KEYS / W, ROWS * W
        matmul v, SCORES, Y, ROWS, KEYS, W, BF16, 16, 32
        store_rows y, Y, ROWS, W
        C_HALT gp0
