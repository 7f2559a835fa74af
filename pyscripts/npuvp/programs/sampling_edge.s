; Sampling step, `edge` form: the vocabulary passes through Vector SRAM in chunks of CHUNK_ROWS rows,
; twice: once for the maximum, once for the sum. The next chunk loads while this one is worked on.
    .include "sampling.inc"

    .equ CHUNKS, ceildiv(ROWS, CHUNK_ROWS)
    .equ CHUNK, CHUNK_ROWS * VLEN
    .equ LAST, VOCAB - (CHUNKS - 1) * CHUNK     ; logits of the last chunk
    .equ LAST_ROWS, ceildiv(LAST, VLEN)
    .assert BUFFERS + 2 * CHUNK <= VECTOR_ROWS * VLEN, "two chunks do not fit in Vector SRAM"
    .assert CHUNK % 32 == 0, "a chunk must be whole MX blocks"

    .reg rChunk, gp15
    .reg rRows, rLength                         ; loop counter; lengths are not needed meanwhile

    ; Starts the load of the chunk at rOffset, LENGTH logits, into rOther.
    .macro load_chunk LENGTH
        set_csr dma_len, \LENGTH
        H_LD_V rOther, rOffset, a1, rOne, 0
    .endm

    .macro swap
        MV rTemp, rBuffer
        MV rBuffer, rOther
        MV rOther, rTemp
    .endm

    .macro maximum NROWS
        MV rRow, rBuffer
        C_LOOP_START rRows, \NROWS
            V_RED_MAX_IDX rArgmax, rRow, rIndex, fMax
            S_ADDI_INT rRow, rRow, VLEN
            S_ADDI_INT rIndex, rIndex, VLEN
        C_LOOP_END rRows
    .endm

    .macro sum NROWS
        MV rRow, rBuffer
        C_LOOP_START rRows, \NROWS
            V_SUB_VF rRow, rRow, fMax, 0, 0
            V_EXP_V rRow, rRow, 0
            V_RED_SUM fSum, rRow
            S_ADDI_INT rRow, rRow, VLEN
        C_LOOP_END rRows
    .endm

    ; Passes the vocabulary through WORK; rOffset begins at the position's logits and ends there.
    .macro pass WORK
        .if CHUNKS > 1
            load_chunk CHUNK
            C_LOOP_START rChunk, CHUNKS - 1
                swap
                LI rTemp, CHUNK
                S_ADD_INT rOffset, rOffset, rTemp
                C_BEQ rChunk, rOne, last\@
                load_chunk CHUNK
                C_JUMP work\@
last\@:
                load_chunk LAST
work\@:
                \WORK CHUNK_ROWS
            C_LOOP_END rChunk
            LI rTemp, (CHUNKS - 1) * CHUNK
            S_SUB_INT rOffset, rOffset, rTemp
        .else
            load_chunk LAST
        .endif
        swap
        \WORK LAST_ROWS
    .endm

    .equ MARK_PHASE_MAXIMUM, 0                 ; names that traces show
    .equ MARK_PHASE_SUM, 1

    .text
    prologue
    logits_format
    LI rOffset, 0
    LI rBuffer, BUFFERS
    LI rOther, BUFFERS + CHUNK

row:
    begin_row
    LI rPosition, 0
    C_LOOP_START rPositions, POSITIONS
        begin_position
        C_MARK phase, gp0                       ; 0: maximum
        pass maximum
        C_MARK phase, rOne                      ; 1: sum of exponentials
        pass sum
        LI rTemp, PITCH
        S_ADD_INT rOffset, rOffset, rTemp
        end_position
    C_LOOP_END rPositions
    end_row
    C_BNE rBatch, gp0, row
    C_FENCE 0xFFFF
    C_DOORBELL gp0
    C_HALT gp0
