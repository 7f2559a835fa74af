; Sampling step, `performance` form: a position's logits are in Vector SRAM as a whole, so the second
; pass over them needs no second load, and the next position loads while this one is worked on.
    .include "sampling.inc"

    .default GROUP_ROWS, 16                     ; rows per prefetch
    .equ GROUPS, (ROWS - 1) / GROUP_ROWS        ; full prefetches before the last one
    .equ GROUP, GROUP_ROWS * VLEN
    .equ LAST, VOCAB - GROUPS * GROUP           ; logits of the last prefetch
    .equ BUFFER, ROWS * VLEN
    .assert BUFFERS + 2 * BUFFER <= VECTOR_ROWS * VLEN, "two positions' logits do not fit in Vector SRAM: use the edge form"

    .reg rGroup, gp15

    ; Starts the load of the position at rOffset into rOther.
    .macro load_position
        MV rRow, rOther
        .if GROUPS > 0
            C_CSRW dma_len, rGroup
            .rept GROUPS
                H_LD_V rRow, rOffset, a1, rOne, 0
                S_ADD_INT rRow, rRow, rGroup
                S_ADD_INT rOffset, rOffset, rGroup
            .endr
        .endif
        set_csr dma_len, LAST
        H_LD_V rRow, rOffset, a1, rOne, 0
        S_ADDI_INT rOffset, rOffset, PITCH - GROUPS * GROUP
    .endm

    .equ MARK_PHASE_MAXIMUM, 0                 ; names that traces show
    .equ MARK_PHASE_SUM, 1

    .text
    prologue
    LI rGroup, GROUP
    logits_format
    LI rOffset, 0
    LI rOther, BUFFERS
    load_position
    LI rBuffer, BUFFERS + BUFFER

row:
    begin_row
    LI rPosition, 0
    C_LOOP_START rPositions, POSITIONS
        ; What was being filled is worked on now.
        MV rTemp, rBuffer
        MV rBuffer, rOther
        MV rOther, rTemp
        LI rTemp, BATCH * POSITIONS * PITCH & 0xFFFF_FFFF
        C_BEQ rOffset, rTemp, loaded            ; no position is left to load
        load_position
loaded:
        C_MARK phase, gp0                       ; 0: maximum
        begin_position
        MV rRow, rBuffer
        .rept ROWS
            V_RED_MAX_IDX rArgmax, rRow, rIndex, fMax
            S_ADDI_INT rRow, rRow, VLEN
            S_ADDI_INT rIndex, rIndex, VLEN
        .endr
        C_MARK phase, rOne                      ; 1: sum of exponentials
        MV rRow, rBuffer
        .rept ROWS
            V_SUB_VF rRow, rRow, fMax, 0, 0
            V_EXP_V rRow, rRow, 0
            V_RED_SUM fSum, rRow
            S_ADDI_INT rRow, rRow, VLEN
        .endr
        end_position
    C_LOOP_END rPositions
    end_row
    C_BNE rBatch, gp0, row
    C_FENCE 0xFFFF
    C_DOORBELL gp0
    C_HALT gp0
