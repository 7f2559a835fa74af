; y = x . transpose(w): x [ROWS, K] BF16, w [N, K] in the format of the weights, y [ROWS, N] BF16.
    .include "common.inc"
    .default ROWS, GROUP
    .default K, 2 * VLEN
    .default N, 2 * VLEN

    activation x, ROWS, K, in
    weight w, N, K
    activation y, ROWS, N, out

    .equ X, 0
    .equ Y, ROWS * K
        load_rows x, X, ROWS, K
        linear w, X, Y, ROWS, K, N
        store_rows y, Y, ROWS, N
        C_HALT gp0
