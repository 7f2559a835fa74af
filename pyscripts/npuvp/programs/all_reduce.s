; All-reduce: every core of CORES has CORES * PART rows of VLEN values, and in the end every core has
; their sums over the cores. Part j is core j's to add up:
;   1. every core copies part j of its rows into core j's Vector SRAM and signals semaphore j
;   2. core j waits for all CORES, adds them up in the order of the cores, and multicasts the sums
;   3. a barrier: now all parts are everywhere
; The order of every sum is that of the cores, whichever message comes first.
;
; Constants: CORES (up to 32), PART, VLEN, VECTOR_ROWS of a core; VECTOR0, the address of core 0's Vector SRAM, and WINDOW, the
; distance of two cores' windows.
    .assert CORES >= 1 && CORES <= 32, "a multicast reaches cores 0 to 31"
    .equ ROWS, CORES * PART
    .assert 3 * ROWS <= VECTOR_ROWS, "own values, inbox and sums do not fit in Vector SRAM"
    .equ BF16, 8
    .equ ROW_BYTES, 2 * VLEN

    .tensor x, hbm, auto, bf16, CORES, ROWS, VLEN, in
    .tensor y, hbm, auto, bf16, CORES, ROWS, VLEN, out

    ; Vector SRAM, in rows: this core's values, what the others send, the sums
    .equ OWN, 0
    .equ INBOX, ROWS
    .equ SUMS, 2 * ROWS

    .reg rAt, gp1
    .reg rOffset, gp2
    .reg rRows, gp3
    .reg rTo, gp4
    .reg rMask, gp5
    .reg rIndex, gp6
    .reg rCount, gp7
    .reg rFrom, gp8
    .reg rTemp, gp9
    .reg rHigh, gp10

    .macro set_csr NAME, VALUE
        LI rTemp, \VALUE
        C_CSRW \NAME, rTemp
    .endm

    ; Part J of core CORE's rows to core J.
    .macro give CORE, J
        LIA a2, VECTOR0 + (\J) * WINDOW + (INBOX + \CORE * PART) * ROW_BYTES, rTemp, rHigh
        LI rFrom, (OWN + (\J) * PART) * ROW_BYTES
        H_COPY a2, gp0, a1, rFrom, 1
        C_FENCE 1 << 1
        LI rIndex, \J
        LI rCount, 1
        C_SEM_SIGNAL rIndex, rCount
    .endm

    .text
    .rept CORES, core
        .core \core
        LIA a0, x, rTemp
        LIA a1, VECTOR0 + \core * WINDOW, rTemp, rHigh
        set_csr dma_format, BF16
        set_csr dma_len, VLEN
        LI rAt, OWN * VLEN
        LI rOffset, \core * ROWS * ROW_BYTES
        LI rRows, ROWS
        H_LD_V rAt, rOffset, a0, rRows, 0
        C_FENCE 1 << 0

        set_csr dma_len, PART * ROW_BYTES
        .rept CORES, i
            give \core, ((\core + \i) % CORES)
        .endr

        LI rIndex, \core
        LI rCount, CORES
        C_SEM_WAIT rIndex, rCount
        .rept CORES - 1, i
            LI rTo, INBOX * VLEN
            LI rFrom, (INBOX + (\i + 1) * PART) * VLEN
            .rept PART
                V_ADD_VV rTo, rTo, rFrom
                S_ADDI_INT rTo, rTo, VLEN
                S_ADDI_INT rFrom, rFrom, VLEN
            .endr
        .endr
        LI rFrom, INBOX * VLEN
        LI rTo, (SUMS + \core * PART) * VLEN
        LI rMask, (1 << CORES) - 1
        LI rRows, PART
        H_MCAST rFrom, rTo, rMask, rRows, 2
        C_FENCE 1 << 2
        LI rCount, CORES
        C_BARRIER gp0, rCount

        LIA a0, y, rTemp
        set_csr dma_len, VLEN
        LI rAt, SUMS * VLEN
        LI rRows, ROWS
        H_ST_V rAt, rOffset, a0, rRows, 3
        C_FENCE 1 << 3
        C_HALT gp0
    .endr
