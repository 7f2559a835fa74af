; y = (silu(x . transpose(gate)) * (x . transpose(up))) . transpose(down), silu(a) = a / (1 + exp(-a)).
; x and y [ROWS, HIDDEN] BF16; gate and up [INNER, HIDDEN], down [HIDDEN, INNER] as weights.
    .include "common.inc"
    .default ROWS, GROUP
    .default HIDDEN, VLEN
    .default INNER, 2 * VLEN

    activation x, ROWS, HIDDEN, in
    weight gate, INNER, HIDDEN
    weight up, INNER, HIDDEN
    weight down, HIDDEN, INNER
    activation y, ROWS, HIDDEN, out

    .equ X, 0
    .equ A, ROWS * HIDDEN
    .equ B, A + ROWS * INNER
    .equ Y, B + ROWS * INNER
    .equ SIGMOID, Y + ROWS * HIDDEN
        load_rows x, X, ROWS, HIDDEN
        linear gate, X, A, ROWS, HIDDEN, INNER
        linear up, X, B, ROWS, HIDDEN, INNER
        LIF f1, -1.0, rTemp
        LIF f2, 1.0, rTemp
        LI rX, A
        LI rY, B
        LI rTile, SIGMOID
        C_LOOP_START rOuter, ROWS * INNER / W
            V_MUL_VF rTile, rX, f1
            V_EXP_V rTile, rTile, 0
            V_ADD_VF rTile, rTile, f2
            V_RECI_V rTile, rTile, 0
            V_MUL_VV rX, rX, rTile
            V_MUL_VV rX, rX, rY
            S_ADDI_INT rX, rX, W
            S_ADDI_INT rY, rY, W
        C_LOOP_END rOuter
        linear down, A, Y, ROWS, INNER, HIDDEN
        store_rows y, Y, ROWS, HIDDEN
        C_HALT gp0
