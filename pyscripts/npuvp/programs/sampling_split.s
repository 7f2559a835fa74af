; Sampling step, `split` form: CORES cores share the vocabulary, core c takes RPC rows of VLEN logits
; from row c * RPC on. All cores run this program. Per row of the batch:
;   1. every core: maximum and its index in its slice, for all positions; barrier
;   2. every core: maximum over the cores; sums of exp(logit - maximum), one per row; barrier
;   3. core 0: index of the maximum, sum over the rows, choice of the positions to commit
; The sums of the rows are added up in the order of the vocabulary, as one core alone adds them: the
; results do not depend on CORES.
    .include "sampling.inc"

    .equ RPC, ceildiv(ROWS, CORES)
    .equ SLICE, RPC * VLEN
    .assert VLEN % 32 == 0, "a slice must begin at an MX block"
    .assert POSITIONS <= VLEN, "the positions do not fit in a row of Vector SRAM"

    .tensor partial_max, hbm, auto, fp32, BATCH, CORES, POSITIONS, out
    .tensor partial_index, hbm, auto, raw32, BATCH, CORES, POSITIONS, out
    .tensor partial_sum, hbm, auto, fp32, BATCH, POSITIONS, ROWS, out

    ; Vector SRAM: the maxima of all cores, their maximum, a mask, and two slices
    .equ ALL_MAX, BUFFERS
    .equ MAX, ALL_MAX + CORES * VLEN
    .equ WINS, MAX + VLEN
    .equ SLICES, WINS + VLEN
    .assert SLICES + 2 * SLICE <= VECTOR_ROWS * VLEN, "two slices do not fit in Vector SRAM"
    ; INT SRAM
    .equ INDEX, 3 * POSITIONS + BATCH
    .equ ALL_INDEX, INDEX + POSITIONS
    .equ MY_ROWS, ALL_INDEX + CORES * POSITIONS ; of this core's slice
    .equ MY_FIRST, MY_ROWS + 1                  ; its first logit
    .equ MY_LENGTH, MY_ROWS + 2                 ; its logits
    .assert MY_ROWS + 3 <= INT_WORDS, "the indices of all cores do not fit in INT SRAM"
    ; FP SRAM, behind the confidences
    .equ GLOBAL_MAX, POSITIONS
    .equ LOCAL_MAX, 2 * POSITIONS
    .equ SUMS, 3 * POSITIONS
    .equ ALL_SUMS, SUMS + POSITIONS * RPC
    .assert ALL_SUMS + ROWS <= FP_WORDS, "the sums of the rows do not fit in FP SRAM"

    .reg rRows, gp15
    .reg fPart, f4

    ; DEST = number of the row of the batch times FACTOR; rRow is free.
    .macro batch_offset DEST, FACTOR
        LI \DEST, BATCH
        S_SUB_INT \DEST, \DEST, rBatch
        LI rRow, \FACTOR
        S_MUL_INT \DEST, \DEST, rRow
    .endm

    .macro all_cores BARRIER
        C_FENCE 0xFFFF
        LI rTemp, CORES
        C_BARRIER \BARRIER, rTemp
    .endm

    ; Passes this core's slice through WORK, position by position; the next one loads meanwhile.
    .macro pass BEGIN, WORK, END
        batch_offset rOffset, POSITIONS * PITCH
        S_LD_INT rTemp, gp0, MY_FIRST
        S_ADD_INT rOffset, rOffset, rTemp
        logits_format
        S_LD_INT rTemp, gp0, MY_LENGTH
        C_CSRW dma_len, rTemp
        LI rBuffer, SLICES
        LI rOther, SLICES + SLICE
        S_LD_INT rRows, gp0, MY_ROWS
        C_BEQ rRows, gp0, begin\@
        H_LD_V rOther, rOffset, a1, rOne, 0
begin\@:
        LI rPosition, 0
        C_LOOP_START rPositions, POSITIONS
            \BEGIN
            C_BEQ rRows, gp0, empty\@
            MV rTemp, rBuffer
            MV rBuffer, rOther
            MV rOther, rTemp
            LI rTemp, PITCH
            S_ADD_INT rOffset, rOffset, rTemp
            C_BEQ rPositions, rOne, loaded\@
            H_LD_V rOther, rOffset, a1, rOne, 0
loaded\@:
            MV rRow, rBuffer
            MV rLength, rRows
work\@:
            \WORK
            S_ADDI_INT rRow, rRow, VLEN
            S_SUB_INT rLength, rLength, rOne
            C_BNE rLength, gp0, work\@
empty\@:
            \END
            S_ADDI_INT rPosition, rPosition, 1
        C_LOOP_END rPositions
    .endm

    .macro begin_max
        S_SET_FP fMax, rMinusInf
        LI rArgmax, 0
        S_LD_INT rIndex, gp0, MY_FIRST
    .endm
    .macro work_max
        V_RED_MAX_IDX rArgmax, rRow, rIndex, fMax
        S_ADDI_INT rIndex, rIndex, VLEN
    .endm
    .macro end_max
        S_ST_FP fMax, rPosition, LOCAL_MAX
        S_ST_INT rArgmax, rPosition, INDEX
    .endm

    .macro begin_sum
        S_LD_FP fMax, rPosition, GLOBAL_MAX
    .endm
    .macro work_sum
        V_SUB_VF rRow, rRow, fMax, 0, 0
        V_EXP_V rRow, rRow, 0
        S_ADD_FP fSum, f0, f0
        V_RED_SUM fSum, rRow
        S_ST_FP fSum, rIndex, 0
        S_ADDI_INT rIndex, rIndex, 1
    .endm
    .macro end_sum
    .endm

    .equ MARK_PHASE_MAXIMUM, 0                 ; names that traces show
    .equ MARK_PHASE_SUM, 1

    .text
    .core all
    prologue
    LIA a7, partial_max, rTemp
    LIA a8, partial_index, rTemp
    LIA a9, partial_sum, rTemp
    ; This core's slice: rows, first logit, number of logits.
    C_CSRR rTemp, core_id
    LI rIndex, RPC
    S_MUL_INT rRow, rTemp, rIndex
    LI rPosition, 0
    LI rArgmax, ROWS
    C_BGEU rRow, rArgmax, sized
    S_SUB_INT rPosition, rArgmax, rRow
    C_BLTU rPosition, rIndex, sized
    MV rPosition, rIndex
sized:
    S_ST_INT rPosition, gp0, MY_ROWS
    LI rIndex, VLEN
    S_MUL_INT rRow, rRow, rIndex
    S_ST_INT rRow, gp0, MY_FIRST
    S_MUL_INT rPosition, rPosition, rIndex
    LI rTemp, VOCAB
    S_SUB_INT rTemp, rTemp, rRow
    C_BGEU rTemp, rPosition, whole
    MV rPosition, rTemp
whole:
    S_ST_INT rPosition, gp0, MY_LENGTH

row:
    C_MARK phase, gp0                           ; 0: maximum
    pass begin_max, work_max, end_max
    batch_offset rIndex, CORES * 4 * POSITIONS
    C_CSRR rTemp, core_id
    LI rRow, 4 * POSITIONS
    S_MUL_INT rTemp, rTemp, rRow
    S_ADD_INT rIndex, rIndex, rTemp
    set_csr dma_len, POSITIONS
    set_csr dma_format, 9                       ; fp32
    LI rTemp, LOCAL_MAX
    H_ST_FP rTemp, rIndex, a7, rOne, 1
    LI rTemp, INDEX
    H_ST_INT rTemp, rIndex, a8, rOne, 1
    all_cores gp0

    batch_offset rIndex, CORES * 4 * POSITIONS
    LI rRow, ALL_MAX
    LI rTemp, CORES
    H_LD_V rRow, rIndex, a7, rTemp, 1
    LI rBuffer, MAX
    V_MAX_VV rBuffer, rRow, rRow
    .rept CORES - 1
        S_ADDI_INT rRow, rRow, VLEN
        V_MAX_VV rBuffer, rBuffer, rRow
    .endr
    LI rTemp, GLOBAL_MAX
    LI rLength, POSITIONS
    S_MAP_FP_V rTemp, rBuffer, rLength
    C_MARK phase, rOne                          ; 1: sums of exponentials
    LI rIndex, SUMS
    pass begin_sum, work_sum, end_sum
    C_BEQ rRows, gp0, stored
    batch_offset rIndex, POSITIONS * 4 * ROWS
    S_LD_INT rTemp, gp0, MY_FIRST
    ; first row * 4 = first logit / (VLEN / 4)
    LI rLength, log2(VLEN) - 2
    S_SHR_INT rTemp, rTemp, rLength
    S_ADD_INT rIndex, rIndex, rTemp
    C_CSRW dma_len, rRows
    set_csr dma_format, 9
    set_csr dma_pitch, 4 * ROWS
    LI rTemp, SUMS
    LI rRow, POSITIONS
    H_ST_FP rTemp, rIndex, a9, rRow, 1
    set_csr dma_pitch, 0
stored:
    all_cores rOne

    C_CSRR rTemp, core_id
    C_BNE rTemp, gp0, others
    begin_row
    batch_offset rIndex, CORES * 4 * POSITIONS
    LI rTemp, ALL_INDEX
    LI rRow, CORES
    H_LD_INT rTemp, rIndex, a8, rRow, 1
    ; Of equal maxima the first core's, which has the lowest index.
    LI rRow, ALL_MAX
    LI rBuffer, MAX
    LI rOther, WINS
    LI rArgmax, X0
    LI rLength, POSITIONS
    V_MAX_VV rBuffer, rRow, rRow
    V_SELECT_INT rArgmax, rTemp, rTemp, rRow, rLength
    .rept CORES - 1
        S_ADDI_INT rRow, rRow, VLEN
        S_ADDI_INT rTemp, rTemp, POSITIONS
        V_CMP_VV rOther, rRow, rBuffer, gt
        V_SELECT_INT rArgmax, rTemp, rArgmax, rOther, rLength
        V_MAX_VV rBuffer, rBuffer, rRow
    .endr
    batch_offset rIndex, POSITIONS * 4 * ROWS
    set_csr dma_len, ROWS
    set_csr dma_format, 9
    LI rPosition, 0
    LI rTemp, ALL_SUMS
    C_LOOP_START rPositions, POSITIONS
        H_LD_FP rTemp, rIndex, a9, rOne, 1
        S_ADDI_INT rIndex, rIndex, 4 * ROWS
        S_ADD_FP fSum, f0, f0
        MV rRow, rTemp
        C_LOOP_START rRows, ROWS
            S_LD_FP fPart, rRow, 0
            S_ADD_FP fSum, fSum, fPart
            S_ADDI_INT rRow, rRow, 1
        C_LOOP_END rRows
        S_RECI_FP fConfidence, fSum
        S_ST_FP fConfidence, rPosition, 0
        S_ADDI_INT rPosition, rPosition, 1
    C_LOOP_END rPositions
    end_row
    C_JUMP next
others:
    S_ADDI_INT rTokens, rTokens, 4 * POSITIONS
    S_SUB_INT rBatch, rBatch, rOne
next:
    C_BNE rBatch, gp0, row
    C_FENCE 0xFFFF
    C_CSRR rTemp, core_id
    C_BNE rTemp, gp0, done
    C_DOORBELL gp0
done:
    C_HALT gp0
