; Divides every row of x by its sum; rows whose sum is 0 stay as they are.
    .tensor x, hbm, 0x1000, bf16, 4, 64, in
    .tensor y, hbm, 0x2000, bf16, 4, 64, out
    .equ ROWS, 4
    .text
    LI gp1, 8                   ; bf16
    C_CSRW dma_format, gp1
    LI gp2, ROWS
    LIA a1, x, gp1
    H_LD_V gp0, gp0, a1, gp2, 0 ; rows 0..3 of Vector SRAM, tag 0
    LI gp4, 64                  ; elements of a row
    C_LOOP_START gp3, ROWS
row:
    C_MARK op, gp6
    V_RED_SUM f1, gp5           ; f1 += sum of the row at gp5
    S_CMP_FP gp7, f1, f0, eq
    C_BNE gp7, gp0, next
    S_RECI_FP f2, f1
    V_MUL_VF gp5, gp5, f2, 0
next:
    S_ADD_INT gp5, gp5, gp4
    S_ADDI_INT gp6, gp6, 1
    C_LOOP_END gp3
    LIA a2, y, gp1
    H_ST_V gp0, gp0, a2, gp2, 1
    C_FENCE 2
    C_HALT gp0
