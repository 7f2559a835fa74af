; y = x . transpose(w), the columns of y split over CORES cores: core c takes N / CORES rows of w. All
; cores run this program. Every sum runs over K in ascending order on one core, so the bits of y do not
; depend on CORES.
;
; Constants: CORES; ROWS, K, N; VLEN, BLEN, GROUP = BLEN * MATRIX_ROWS, of a core with MLEN = VLEN;
; VECTOR_ROWS and TILES, what Vector and Matrix SRAM hold.
    .equ MINE, N / CORES                ; columns of y of one core
    .equ TILE, VLEN * VLEN
    .equ BF16, 8
    .assert N == MINE * CORES && MINE % BLEN == 0, "every core takes a multiple of BLEN columns"
    .assert MINE <= VLEN, "the columns of a core do not fit in a tile: use more cores"
    .assert ROWS % GROUP == 0 && K % VLEN == 0, "ROWS is a multiple of GROUP, K of VLEN"
    .assert K / VLEN <= TILES, "a core's columns of w do not fit in Matrix SRAM"
    .assert ROWS * (K / VLEN + 1) <= VECTOR_ROWS, "x and y do not fit in Vector SRAM"

    .tensor x, hbm, auto, bf16, ROWS, K, in
    .tensor w, hbm, auto, bf16, N, K, in
    .tensor y, hbm, auto, bf16, ROWS, N, out

    .reg rAt, gp1
    .reg rOffset, gp2
    .reg rRows, gp3
    .reg rX, gp4
    .reg rY, gp5
    .reg rColumn, gp6
    .reg rXk, gp7
    .reg rTile, gp8
    .reg rStep, gp9
    .reg rTemp, gp10
    .reg rCore, gp11
    .reg rOuter, gp12
    .reg rInner, gp13
    .reg rColumns, gp14
    .reg rGroup, gp15

    .macro set_csr NAME, VALUE
        LI rTemp, \VALUE
        C_CSRW \NAME, rTemp
    .endm

    ; Vector SRAM: x in blocks of VLEN columns, then the columns of y
    .equ X, 0
    .equ Y, ROWS * K

    .text
    .core all
    C_CSRR rCore, core_id
    LIA a0, x, rTemp
    LIA a1, w, rTemp
    LIA a2, y, rTemp
    set_csr dma_format, BF16
    set_csr dma_len, VLEN
    set_csr dma_pitch, 2 * K
    LI rRows, ROWS
    .rept K / VLEN, k
        LI rAt, X + \k * ROWS * VLEN
        LI rOffset, 2 * \k * VLEN
        H_LD_V rAt, rOffset, a0, rRows, 0
    .endr
    ; The rows of w that are this core's columns, a tile per VLEN of K
    LI rTemp, 2 * MINE * K
    S_MUL_INT rX, rCore, rTemp
    LI rRows, MINE
    .rept K / VLEN, k
        LI rAt, \k * TILE
        S_ADDI_INT rOffset, rX, 2 * \k * VLEN
        H_LD_M rAt, rOffset, a1, rRows, 1
    .endr

    LI rX, X
    LI rY, Y
    LI rStep, ROWS * VLEN
    LI rGroup, GROUP * VLEN
    LI rColumn, BLEN * VLEN
    C_LOOP_START rOuter, ROWS / GROUP
        MV rAt, rY
        LI rColumns, 0
        C_LOOP_START rInner, MINE / BLEN
            MV rXk, rX
            MV rTile, rColumns
            .rept K / VLEN
                M_TMM 0, rXk, rTile
                S_ADD_INT rXk, rXk, rStep
                S_ADDI_INT rTile, rTile, TILE
            .endr
            M_MM_WO rAt, gp0, 0
            S_ADDI_INT rAt, rAt, BLEN
            S_ADD_INT rColumns, rColumns, rColumn
        C_LOOP_END rInner
        S_ADD_INT rX, rX, rGroup
        S_ADD_INT rY, rY, rGroup
    C_LOOP_END rOuter

    set_csr dma_len, MINE
    set_csr dma_pitch, 2 * N
    LI rTemp, 2 * MINE
    S_MUL_INT rOffset, rCore, rTemp
    LI rY, Y
    LI rRows, ROWS
    H_ST_V rY, rOffset, a2, rRows, 2
    C_FENCE 0xFFFF
    C_HALT gp0
