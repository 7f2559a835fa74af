; Sum of the exponentials of 256 rows, in chunks of 16: one buffer loads while the other is worked on.
    .tensor x, hbm, 0x10000, bf16, 256, 64, in
    .tensor y, core0.fp, 0, fp32, 1, out
    .equ CHUNK, 16
    .equ CHUNK_BYTES, CHUNK * 64 * 2
    .equ BUFFER_A, 0
    .equ BUFFER_B, CHUNK * 64
    .text

    .macro load BUFFER, TAG     ; starts the load of the next chunk
        LI gp5, \BUFFER
        H_LD_V gp5, gp9, a1, gp2, \TAG
        S_ADD_INT gp9, gp9, gp10
    .endm

    .macro work BUFFER
        LI gp5, \BUFFER
        C_LOOP_START gp8, CHUNK
            V_EXP_V gp5, gp5, 0
            V_RED_SUM f1, gp5
            S_ADD_INT gp5, gp5, gp4
        C_LOOP_END gp8
    .endm

    LI gp1, 8                   ; bf16
    C_CSRW dma_format, gp1
    LI gp2, CHUNK
    LI gp4, 64
    LI gp10, CHUNK_BYTES
    LIA a1, x, gp1
    load BUFFER_A, 0
    C_LOOP_START gp3, 8
        load BUFFER_B, 1
        C_FENCE 3
        work BUFFER_A
        load BUFFER_A, 0        ; the last one loads what nobody uses
        C_FENCE 3
        work BUFFER_B
    C_LOOP_END gp3
    S_ST_FP f1, gp0, 0
    C_HALT gp0
