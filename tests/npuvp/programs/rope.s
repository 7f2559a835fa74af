; y = x * cosine + (x . transpose(rotation)) * sine: rotary embedding of heads of VLEN lanes, whose
; halves the rotation matrix [VLEN, VLEN] swaps with a sign. All [ROWS, VLEN] BF16.
    .include "common.inc"
    .default ROWS, GROUP

    activation x, ROWS, W, in
    activation cosine, ROWS, W, in
    activation sine, ROWS, W, in
    weight rotation, W, W
    activation y, ROWS, W, out

    .equ X, 0
    .equ C, ROWS * W
    .equ S, 2 * ROWS * W
    .equ R, 3 * ROWS * W
        load_rows x, X, ROWS, W
        load_rows cosine, C, ROWS, W
        load_rows sine, S, ROWS, W
        linear rotation, X, R, ROWS, W, W
        LI rX, X
        LI rY, R
        LI rXk, C
        LI rYc, S
        C_LOOP_START rOuter, ROWS
            V_MUL_VV rX, rX, rXk
            V_MUL_VV rY, rY, rYc
            V_ADD_VV rX, rX, rY
            .irp r, rX, rY, rXk, rYc
                S_ADDI_INT \r, \r, W
            .endr
        C_LOOP_END rOuter
        store_rows y, X, ROWS, W
        C_HALT gp0
