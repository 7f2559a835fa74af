; y = x / sqrt(mean(x^2) + EPSILON) * g: x and y [ROWS, HIDDEN], g [1, HIDDEN], all BF16.
    .include "common.inc"
    .default ROWS, 5
    .default HIDDEN, 2 * VLEN

    activation x, ROWS, HIDDEN, in
    activation g, 1, HIDDEN, in
    activation y, ROWS, HIDDEN, out

    .equ BLOCKS, HIDDEN / W
    .equ X, 0
    .equ G, ROWS * HIDDEN
    .equ SQUARE, G + HIDDEN
        load_rows x, X, ROWS, HIDDEN
        load_rows g, G, 1, HIDDEN
        LIF f3, 1.0 / HIDDEN, rTemp
        LIF f4, 1e-5, rTemp
        LI rX, X
        LI rTile, SQUARE
        LI rStep, ROWS * W
        C_LOOP_START rOuter, ROWS
            S_ADD_FP f1, f0, f0
            MV rXk, rX
            .rept BLOCKS
                V_MUL_VV rTile, rXk, rXk
                V_RED_SUM f1, rTile
                S_ADD_INT rXk, rXk, rStep
            .endr
            S_MUL_FP f1, f1, f3
            S_ADD_FP f1, f1, f4
            S_SQRT_FP f1, f1
            S_RECI_FP f1, f1
            MV rXk, rX
            LI rY, G
            .rept BLOCKS
                V_MUL_VF rXk, rXk, f1
                V_MUL_VV rXk, rXk, rY
                S_ADD_INT rXk, rXk, rStep
                S_ADDI_INT rY, rY, W
            .endr
            S_ADDI_INT rX, rX, W
        C_LOOP_END rOuter
        store_rows y, X, ROWS, HIDDEN
        C_HALT gp0
