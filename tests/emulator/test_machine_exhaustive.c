// 8- and 16-bit arithmetic, all of it: every code of one operand with 17 of the other for what takes two, every code
// for what takes one; against plain C.
#include "machine_test.h"

#define CODES 65536
#define KERNEL(body)                                                                                                   \
    ".version 8.0\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 p, .param .u32 b)\n{\n"              \
    ".reg .pred %p<4>;\n.reg .b16 %h<8>;\n.reg .b32 %r<16>;\n.reg .b64 %rd<8>;\n"                                      \
    "ld.param.u64 %rd1, [p];\nld.param.u16 %h2, [b];\nmov.u32 %r1, %tid.x;\nmov.u32 %r2, %ctaid.x;\n"                  \
    "mad.lo.u32 %r3, %r2, 1024, %r1;\ncvt.u16.u32 %h1, %r3;\nmov.u32 %r5, 0;\n" body                                   \
    "mul.wide.u32 %rd2, %r3, 4;\nadd.u64 %rd2, %rd1, %rd2;\nst.global.u32 [%rd2], %r5;\nret;\n}\n"
#define HALF(operation) KERNEL(operation " %h3, %h1, %h2;\ncvt.u32.u16 %r5, %h3;\n")
#define WIDE(operation) KERNEL(operation " %r5, %h1, %h2;\n")
#define CONVERT(operation) KERNEL(operation " %r5, %h1;\n")

typedef uint32_t (*expected_fn)(uint16_t a, uint16_t b);

#define BINARY(name, expression)                                                                                       \
    static uint32_t name(uint16_t a, uint16_t b) {                                                                     \
        int32_t sa = (int16_t)a, sb = (int16_t)b;                                                                      \
        uint32_t ua = a, ub = b;                                                                                       \
        (void)sa, (void)sb, (void)ua, (void)ub;                                                                        \
        return (uint32_t)(expression);                                                                                 \
    }
BINARY(sum, (ua + ub) & 0xffff)
BINARY(difference, (ua - ub) & 0xffff)
BINARY(product, (ua * ub) & 0xffff)
BINARY(high_u16, ua *ub >> 16)
BINARY(high_s16, (uint32_t)(sa *sb) >> 16)
BINARY(wide_u16, ua *ub)
BINARY(wide_s16, sa *sb)
BINARY(less_u16, ua < ub ? ua : ub)
BINARY(less_s16, (sa < sb ? ua : ub))
BINARY(more_u16, ua > ub ? ua : ub)
BINARY(more_s16, (sa > sb ? ua : ub))
BINARY(quotient_u16, ua / ub)
BINARY(quotient_s16, (uint32_t)(sa / sb) & 0xffff)
BINARY(rest_u16, ua % ub)
BINARY(rest_s16, (uint32_t)(sa % sb) & 0xffff)
BINARY(both, ua &ub)
BINARY(either, ua | ub)
BINARY(one_of, ua ^ ub)
BINARY(below_s16, sa < sb)
BINARY(below_u16, ua < ub)

static int32_t clamp(int32_t value, int32_t least, int32_t most) {
    return value < least ? least : value > most ? most : value;
}
BINARY(same_u8, ua & 0xff)
BINARY(sign_s8, (int32_t)(int8_t)(ua & 0xff))
BINARY(sign_s16, sa)
BINARY(saturated_s8_s16, clamp(sa, -128, 127))
BINARY(saturated_u8_s16, clamp(sa, 0, 255))
BINARY(saturated_u8_u16, ua > 255 ? 255 : ua)
BINARY(saturated_s8_u16, ua > 127 ? 127 : ua)
BINARY(saturated_u16_s16, clamp(sa, 0, 65535))
BINARY(negative, (0 - ua) & 0xffff)
BINARY(magnitude, (uint32_t)(sa < 0 ? -sa : sa) & 0xffff)
BINARY(complement, ~ua & 0xffff)
BINARY(is_zero, ua == 0)

static void run(struct machine *machine, uintptr_t words, uint16_t b, expected_fn expected, const char *name) {
    struct {
        uintptr_t p;
        uint32_t b;
    } p = {words, b};
    machine_run(machine, "k", (struct shape){{CODES / 1024, 1, 1}, {1024, 1, 1}, 0, {0}}, &p);
    for (uint32_t a = 0; a < CODES; a++) {
        uint32_t seen = ((const uint32_t *)words)[a], wanted = expected((uint16_t)a, b);
        if (seen != wanted) fail_msg("%s of 0x%04x and 0x%04x is 0x%x, not 0x%x", name, a, b, seen, wanted);
    }
}

struct check {
    const char *ptx, *name;
    expected_fn expected;
};

static void every_code(const struct check *checks, size_t count, uint32_t step) {
    for (size_t i = 0; i < count; i++) {
        struct machine machine = machine_create(90);
        uintptr_t words = machine_buffer(&machine, NULL, CODES * 4);
        machine.settings.checks = false; // arithmetic alone
        machine_load(&machine, checks[i].ptx);
        for (uint32_t b = 1; b < CODES; b += step) {
            run(&machine, words, (uint16_t)b, checks[i].expected, checks[i].name);
        }
        machine_destroy(&machine);
    }
}

#define OF(make, operation, expected)                                                                                  \
    { make(operation), operation, expected }
#define SET(operation) KERNEL("setp." operation " %p1, %h1, %h2;\nselp.u32 %r5, 1, 0, %p1;\n")

static void two_operands(void **state) {
    (void)state;
    static const struct check checks[] = {
        OF(HALF, "add.u16", sum),           OF(HALF, "sub.s16", difference),  OF(HALF, "mul.lo.s16", product),
        OF(HALF, "mul.hi.u16", high_u16),   OF(HALF, "mul.hi.s16", high_s16), OF(WIDE, "mul.wide.u16", wide_u16),
        OF(WIDE, "mul.wide.s16", wide_s16), OF(HALF, "min.u16", less_u16),    OF(HALF, "min.s16", less_s16),
        OF(HALF, "max.u16", more_u16),      OF(HALF, "max.s16", more_s16),    OF(HALF, "div.u16", quotient_u16),
        OF(HALF, "div.s16", quotient_s16),  OF(HALF, "rem.u16", rest_u16),    OF(HALF, "rem.s16", rest_s16),
        OF(HALF, "and.b16", both),          OF(HALF, "or.b16", either),       OF(HALF, "xor.b16", one_of),
        OF(SET, "lt.s16", below_s16),       OF(SET, "lt.u16", below_u16),
    };
    every_code(checks, sizeof(checks) / sizeof(checks[0]), 4093); // a prime: 17 of them, 1 to 65489
}

static void one_operand(void **state) {
    (void)state;
    static const struct check checks[] = {
        OF(CONVERT, "cvt.u32.u8", same_u8),
        OF(CONVERT, "cvt.s32.s8", sign_s8),
        OF(CONVERT, "cvt.s32.s16", sign_s16),
        OF(CONVERT, "cvt.sat.s8.s16", saturated_s8_s16),
        OF(CONVERT, "cvt.sat.u8.s16", saturated_u8_s16),
        OF(CONVERT, "cvt.sat.u8.u16", saturated_u8_u16),
        OF(CONVERT, "cvt.sat.s8.u16", saturated_s8_u16),
        OF(CONVERT, "cvt.sat.u16.s16", saturated_u16_s16),
        {KERNEL("neg.s16 %h3, %h1;\ncvt.u32.u16 %r5, %h3;\n"), "neg.s16", negative},
        {KERNEL("abs.s16 %h3, %h1;\ncvt.u32.u16 %r5, %h3;\n"), "abs.s16", magnitude},
        {KERNEL("not.b16 %h3, %h1;\ncvt.u32.u16 %r5, %h3;\n"), "not.b16", complement},
        {KERNEL("cnot.b16 %h3, %h1;\ncvt.u32.u16 %r5, %h3;\n"), "cnot.b16", is_zero},
    };
    every_code(checks, sizeof(checks) / sizeof(checks[0]), CODES);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(two_operands), cmocka_unit_test(one_operand)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
