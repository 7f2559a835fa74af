; y = softmax(x) along rows: [ROWS, COLUMNS] BF16.
    .include "common.inc"
    .default ROWS, 5
    .default COLUMNS, 3 * VLEN

    activation x, ROWS, COLUMNS, in
    activation y, ROWS, COLUMNS, out

        load_rows x, 0, ROWS, COLUMNS
        softmax 0, ROWS, COLUMNS / W, ROWS * W
        store_rows y, 0, ROWS, COLUMNS
        C_HALT gp0
