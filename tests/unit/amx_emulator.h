// AMX's tile instructions for machines without: they raise SIGILL, and the handler does what they would have done, in
// the state of the thread that met them. Shapes that the hardware would refuse end the test.
#ifndef SMKD_TEST_AMX_EMULATOR_H
#define SMKD_TEST_AMX_EMULATOR_H

#ifndef _GNU_SOURCE
#error "needs _GNU_SOURCE for the registers of a signal's context"
#endif
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

static _Thread_local struct {
    int rows[8], bytes[8];
    unsigned char data[8][16][64];
} amx;
static volatile sig_atomic_t amx_products; // TDPBF16PS seen, by any thread

static void amx_refuse(const char *why) {
    fprintf(stderr, "amx: %s\n", why);
    abort();
}

static int64_t amx_register(const ucontext_t *c, int i) {
    static const int index[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                  REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    return c->uc_mcontext.gregs[index[i]];
}

struct amx_operand { // ModRM and what follows
    int mod, reg, rm, length;
    int64_t base, stride; // of memory
};

static struct amx_operand amx_operand(const ucontext_t *c, const unsigned char *p, int x, int b) {
    struct amx_operand o = {.mod = p[0] >> 6, .reg = p[0] >> 3 & 7, .rm = p[0] & 7, .length = 1};
    if (o.mod == 3) return o;
    int32_t wide = 0;
    bool no_base = o.mod == 0 && o.rm == 5; // relative to the next instruction
    int base = o.rm | b << 3;
    if (o.rm == 4) {
        int index = (p[1] >> 3 & 7) | x << 3;
        if (index != 4) o.stride = amx_register(c, index) << (p[1] >> 6);
        base = (p[1] & 7) | b << 3;
        if (o.mod == 0 && (p[1] & 7) == 5) amx_refuse("an address without a base");
        o.length = 2;
    }
    if (o.mod == 1) o.base = (signed char)p[o.length++];
    if (o.mod == 2 || no_base) {
        memcpy(&wide, p + o.length, 4);
        o.base = wide;
        o.length += 4;
    }
    o.base += no_base ? (int64_t)(intptr_t)(p + o.length) : amx_register(c, base);
    return o;
}

static float amx_float(const unsigned char *p) {
    uint32_t bits = (uint32_t)(p[0] | p[1] << 8) << 16;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

static void amx_product(int c, int a, int b) {
    if (amx.bytes[a] / 4 != amx.rows[b] || amx.rows[c] != amx.rows[a] || amx.bytes[c] != amx.bytes[b] || c == a ||
        c == b || a == b)
        amx_refuse("tiles that do not fit each other");
    for (int m = 0; m < amx.rows[c]; m++)
        for (int k = 0; k < amx.rows[b]; k++)
            for (int n = 0; n < amx.bytes[c] / 4; n++) {
                float sum;
                const unsigned char *x = &amx.data[a][m][4 * k], *y = &amx.data[b][k][4 * n];
                memcpy(&sum, &amx.data[c][m][4 * n], 4);
                sum += amx_float(x) * amx_float(y) + amx_float(x + 2) * amx_float(y + 2);
                memcpy(&amx.data[c][m][4 * n], &sum, 4);
            }
    amx_products++;
}

static void amx_configure(const unsigned char *p) {
    memset(&amx, 0, sizeof amx);
    if (!p) return;
    if (p[0] != 1) amx_refuse("a palette other than 1");
    for (int i = 0; i < 8; i++) {
        amx.bytes[i] = p[16 + 2 * i] | p[17 + 2 * i] << 8;
        amx.rows[i] = p[48 + i];
        if (amx.bytes[i] > 64 || amx.rows[i] > 16 || !amx.bytes[i] != !amx.rows[i]) amx_refuse("an impossible shape");
    }
}

static void amx_on_sigill(int sig, siginfo_t *info, void *context) {
    (void)sig;
    (void)info;
    ucontext_t *c = context;
    const unsigned char *p = (const unsigned char *)(intptr_t)c->uc_mcontext.gregs[REG_RIP];
    if (p[0] != 0xc4 || (p[1] & 0x1f) != 2) amx_refuse("another illegal instruction");
    int x = !(p[1] & 0x40), b = !(p[1] & 0x20), prefix = p[2] & 3, third = ~(p[2] >> 3) & 15;
    struct amx_operand o = amx_operand(c, p + 4, x, b);
    int op = p[3];
    if (op == 0x49 && prefix == 0)
        amx_configure(o.mod == 3 ? NULL : (const unsigned char *)(intptr_t)o.base); // LDTILECFG, TILERELEASE
    else if (op == 0x49 && prefix == 3)
        memset(amx.data[o.reg], 0, sizeof amx.data[o.reg]); // TILEZERO
    else if (op == 0x4b && prefix == 3) {                   // TILELOADD
        if (!amx.rows[o.reg]) amx_refuse("a tile without a shape");
        memset(amx.data[o.reg], 0, sizeof amx.data[o.reg]);
        for (int r = 0; r < amx.rows[o.reg]; r++)
            memcpy(amx.data[o.reg][r], (const char *)(intptr_t)(o.base + r * o.stride), (size_t)amx.bytes[o.reg]);
    } else if (op == 0x4b && prefix == 2) { // TILESTORED
        for (int r = 0; r < amx.rows[o.reg]; r++)
            memcpy((char *)(intptr_t)(o.base + r * o.stride), amx.data[o.reg][r], (size_t)amx.bytes[o.reg]);
    } else if (op == 0x5c && prefix == 2)
        amx_product(o.reg, o.rm, third);
    else
        amx_refuse("an instruction that is not AMX's");
    c->uc_mcontext.gregs[REG_RIP] += 4 + o.length;
}

static void amx_emulate(void) {
    struct sigaction a = {.sa_sigaction = amx_on_sigill, .sa_flags = SA_SIGINFO};
    sigemptyset(&a.sa_mask);
    sigaction(SIGILL, &a, NULL);
}

#endif
