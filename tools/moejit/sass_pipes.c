// Which pipe of a multiprocessor of sm_90 or sm_120 executes an opcode (OMMA is e2m1's block-scaled mma.sync, QMMA
// fp8's). The opcode's name is what stands before the first dot
// ("CUDA Binary Utilities" lists them); IMAD, whatever its suffix, is a product.
#include <string.h>

#include "sass.h"

static const struct {
    enum mj_pipe pipe;
    const char *names; // each between spaces
} pipes[] = {
    {MJ_PIPE_INTEGER,
     " LOP3 PRMT SHF LEA ISETP SEL VIADD IADD3 MOV FSETP FSEL FMNMX FMNMX3 IABS VIMNMX VIMNMX3 VIADDMNMX "
     "IMNMX PLOP3 P2R R2P BMSK SGXT VOTE LOP IADD HMNMX2 HSETP2 HSET2 FCHK FSET VABSDIFF VABSDIFF4 LOP32I "
     "ISCADD SHL SHR CSEL ICMP MOV32I IADD32I FSWZADD "},
    {MJ_PIPE_MULTIPLY, " IMAD IMUL IMAD32I IMUL32I IDP IDP4A "},
    {MJ_PIPE_FMA,
     " FFMA FMUL FADD HFMA2 HMUL2 HADD2 FFMA32I FMUL32I FADD32I HFMA2_32I HMUL2_32I HADD2_32I FFMA2 FMUL2 FADD2 "},
    {MJ_PIPE_CONVERT, " F2FP F2F F2I I2F I2FP F2IP FRND I2I I2IP "},
    {MJ_PIPE_SPECIAL, " MUFU POPC FLO BREV "},
    {MJ_PIPE_SHARED, " LDS STS LDSM STSM ATOMS SHFL REDUX MOVM "},
    {MJ_PIPE_GLOBAL,
     " LDG STG LDGSTS LD ST LDL STL RED REDG ATOM ATOMG UBLKCP UBLKRED UBLKPF UTMALDG UTMASTG UTMAREDG UTMAPF CCTL "
     "CCTLL TEX TLD "},
    {MJ_PIPE_TENSOR, " HGMMA HMMA IGMMA QGMMA BGMMA IMMA QMMA DMMA OMMA "},
    {MJ_PIPE_CONTROL,
     " BRA BRX JMP JMX CALL RET EXIT BSSY BSYNC BREAK BMOV WARPSYNC NOP BAR MEMBAR FENCE SYNCS ARRIVES WARPGROUP "
     "WARPGROUPSET DEPBAR LDGDEPBAR ELECT ENDCOLLECTIVE YIELD NANOSLEEP USETMAXREG ERRBAR LDC CS2R S2R ACQBULK "
     "PREEXIT BPT KILL B2R R2B LEPC UCGABAR_ARV UCGABAR_WAIT UTMACMDFLUSH UTMACCTL QSPC CGAERRBAR "},
    {MJ_PIPE_UNIFORM, " R2UR S2UR REDUX2UR VOTEU ULDC LDCU "},
};

bool sass_pipe(const char *opcode, enum mj_pipe *pipe) {
    char name[48];
    size_t length = strcspn(opcode, ".");
    if (length + 3 > sizeof(name)) return false;
    name[0] = ' ';
    memcpy(name + 1, opcode, length);
    memcpy(name + 1 + length, " ", 2);
    for (size_t i = 0; i < sizeof(pipes) / sizeof(pipes[0]); i++) {
        if (strstr(pipes[i].names, name) == NULL) continue;
        *pipe = pipes[i].pipe;
        return true;
    }
    *pipe = MJ_PIPE_UNIFORM; // the uniform twins: UMOV, UIADD3, USHF ...
    return opcode[0] == 'U';
}
