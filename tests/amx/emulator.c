/* AMX on a CPU without AMX, for tests: a preloaded library that emulates trapped instructions.
 *
 *   gcc -O3 -march=native -fPIC -shared emulator.c -o emulator.so
 *   LD_PRELOAD=emulator.so program
 *
 * x86-64 Linux only. It
 *   - answers arch_prctl(ARCH_REQ_XCOMP_PERM, 18), made with syscall(), with "granted";
 *   - takes SIGILL and carries out AMX-TILE, AMX-INT8 and TDPBF16PS with tiles of their own for
 *     every thread;
 *   - checks what the CPU checks (Intel SDM volume 2, the pages of the instructions): an invalid
 *     configuration raises SIGSEGV as #GP does; a tile that is not configured, shapes that do not
 *     fit and equal operands are left to SIGILL as #UD is.
 *
 * A SIGILL that is not emulated goes to the handler that the program (or another preloaded
 * library) has set, in whatever order: sigaction() and signal() for SIGILL are interposed, so the
 * emulator stays in front. Where the kernel does grant AMX the library does nothing.
 *
 * Not emulated: segment and address-size prefixes, the CPUID bits (a program that asks CPUID does
 * not find AMX), threads that block SIGILL, a fault in the middle of a tile load. BF16 products
 * are summed in another order than the CPU's, so the last bit may differ. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum {
    ARCH_GET_PERMISSION = 0x1022,
    ARCH_REQUEST_PERMISSION = 0x1023,
    TILE_CONFIG = 17,
    TILE_DATA = 18,
    TILES = 8,
    ROWS = 16,
    ROW_BYTES = 64,
    KERNEL_SENT = 0x80, /* si_code of #GP */
};

enum outcome { OTHER, DONE, INVALID /* #UD */, REFUSED /* #GP */ };

/* The 64 bytes that LDTILECFG reads. */
struct config {
    uint8_t palette, start_row, reserved[14];
    uint16_t colsb[16];
    uint8_t rows[16];
};

struct tile {
    _Alignas(64) uint8_t row[ROWS][ROW_BYTES];
};

static __thread struct config config __attribute__((tls_model("initial-exec")));
static __thread struct tile tiles[TILES] __attribute__((tls_model("initial-exec")));

typedef int (*sigaction_function)(int, const struct sigaction *, struct sigaction *);
static sigaction_function real_sigaction;
static struct sigaction next; /* who gets a SIGILL that is not emulated */
static int active;

/* --- instructions -------------------------------------------------------------------------- */

/* A VEX-encoded instruction of map 0F38, W0, 128 bits: all of AMX. */
struct code {
    unsigned opcode, prefix /* 0: none, 1: 66, 2: F3, 3: F2 */, vvvv, mod, reg, rm, length;
    int has_sib;
    uintptr_t base; /* of the memory operand, with displacement */
    uintptr_t index; /* scaled: the stride of a tile in memory */
};

static uintptr_t value(const ucontext_t * context, unsigned number) {
    static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                  REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                  REG_R12, REG_R13, REG_R14, REG_R15};
    return (uintptr_t) context->uc_mcontext.gregs[order[number]];
}

static void decode_memory(const ucontext_t * context, const uint8_t * at, struct code * code) {
    const unsigned x = at[1] & 0x40 ? 0 : 8, b = at[1] & 0x20 ? 0 : 8;
    unsigned bytes = code->mod == 1 ? 1 : code->mod == 2 ? 4 : 0;
    int32_t wide = 0;
    if (code->rm == 4) {
        const uint8_t sib = at[code->length++];
        const unsigned index = (sib >> 3 & 7) | x;
        code->has_sib = 1;
        code->index = index == 4 ? 0 : value(context, index) << (sib >> 6);
        if ((sib & 7) == 5 && code->mod == 0) {
            bytes = 4;
        } else {
            code->base = value(context, (sib & 7) | b);
        }
    } else if (code->rm == 5 && code->mod == 0) {
        bytes = 4;
        code->base = (uintptr_t) at + code->length + bytes;
    } else {
        code->base = value(context, code->rm | b);
    }
    memcpy(&wide, at + code->length, bytes);
    code->length += bytes;
    code->base += (uintptr_t) (intptr_t) (bytes == 1 ? (int8_t) wide : wide);
}

static int decode(const ucontext_t * context, struct code * code) {
    const uint8_t * at = (const uint8_t *) context->uc_mcontext.gregs[REG_RIP];
    memset(code, 0, sizeof *code);
    if (at[0] != 0xC4 || (at[1] & 0x1F) != 2 || (at[2] & 0x84) != 0) {
        return 0;
    }
    code->opcode = at[3];
    code->prefix = at[2] & 3;
    code->vvvv = ~(at[2] >> 3) & 15;
    code->mod = at[4] >> 6;
    code->reg = (at[4] >> 3 & 7) | (at[1] & 0x80 ? 0 : 8);
    code->rm = at[4] & 7;
    code->length = 5;
    if (code->mod != 3) {
        decode_memory(context, at, code);
    } else {
        code->rm |= at[1] & 0x20 ? 0 : 8;
    }
    return 1;
}

/* --- what they do -------------------------------------------------------------------------- */

static int all_zero(const void * bytes, size_t count) {
    for (const uint8_t * at = bytes; count--; ++at) {
        if (*at) {
            return 0;
        }
    }
    return 1;
}

static int acceptable(const struct config * wanted) {
    if (wanted->palette > 1 || !all_zero(wanted->reserved, sizeof wanted->reserved) ||
        !all_zero(wanted->colsb + TILES, sizeof *wanted->colsb * TILES) ||
        !all_zero(wanted->rows + TILES, TILES)) {
        return 0;
    }
    for (unsigned n = 0; n < TILES; ++n) {
        if (wanted->colsb[n] > ROW_BYTES || wanted->rows[n] > ROWS ||
            !wanted->colsb[n] != !wanted->rows[n]) {
            return 0;
        }
    }
    return 1;
}

static enum outcome load_config(const struct config * from) {
    struct config wanted;
    memcpy(&wanted, from, sizeof wanted);
    if (wanted.palette == 0) {
        memset(&wanted, 0, sizeof wanted);
    } else if (!acceptable(&wanted)) {
        return REFUSED;
    }
    config = wanted;
    memset(tiles, 0, sizeof tiles);
    return DONE;
}

/* Is this a tile that the configuration knows, with rows of whole 32-bit elements? */
static int configured(unsigned n) {
    return config.palette == 1 && n < TILES && config.rows[n] && config.colsb[n] % 4 == 0;
}

static enum outcome move_tile(const struct code * code, int store) {
    const unsigned n = code->reg;
    if (!code->has_sib || !configured(n) || config.start_row >= config.rows[n]) {
        return INVALID;
    }
    if (!store) {
        memset(tiles[n].row[config.start_row], 0, (ROWS - config.start_row) * ROW_BYTES);
    }
    for (unsigned row = config.start_row; row < config.rows[n]; ++row) {
        void * memory = (void *) (code->base + row * code->index);
        memcpy(store ? memory : tiles[n].row[row], store ? tiles[n].row[row] : memory,
               config.colsb[n]);
    }
    config.start_row = 0;
    return DONE;
}

static enum outcome zero_tile(unsigned n) {
    if (config.palette != 1 || n >= TILES || !config.rows[n]) {
        return INVALID;
    }
    memset(&tiles[n], 0, sizeof tiles[n]);
    config.start_row = 0;
    return DONE;
}

/* c[m][n] += sum over k and i of a[m][4k + i] * b[k][4n + i], always over full tiles: what lies
 * outside a configured tile is zero. */
#define DOT_PRODUCT(name, a_type, b_type)                                                        \
    static void name(struct tile * restrict c, const struct tile * restrict a,                   \
                     const struct tile * restrict b, unsigned rows, unsigned depth) {            \
        for (unsigned m = 0; m < rows; ++m) {                                                    \
            uint32_t * restrict sums = (uint32_t *) c->row[m];                                   \
            const a_type * restrict left = (const a_type *) a->row[m];                           \
            for (unsigned k = 0; k < depth; ++k) {                                               \
                const b_type * restrict right = (const b_type *) b->row[k];                      \
                for (unsigned n = 0; n < ROW_BYTES / 4; ++n) {                                   \
                    sums[n] += (uint32_t) (left[4 * k] * right[4 * n] +                          \
                                           left[4 * k + 1] * right[4 * n + 1] +                  \
                                           left[4 * k + 2] * right[4 * n + 2] +                  \
                                           left[4 * k + 3] * right[4 * n + 3]);                  \
                }                                                                                \
            }                                                                                    \
        }                                                                                        \
    }

DOT_PRODUCT(dot_uu, uint8_t, uint8_t)
DOT_PRODUCT(dot_us, uint8_t, int8_t)
DOT_PRODUCT(dot_su, int8_t, uint8_t)
DOT_PRODUCT(dot_ss, int8_t, int8_t)

static float from_bf16(uint16_t bits) {
    const uint32_t wide = (uint32_t) bits << 16;
    float number;
    memcpy(&number, &wide, sizeof number);
    return number;
}

static void dot_bf16(struct tile * restrict c, const struct tile * restrict a,
                     const struct tile * restrict b, unsigned rows, unsigned depth) {
    for (unsigned m = 0; m < rows; ++m) {
        float * restrict sums = (float *) c->row[m];
        const uint16_t * restrict left = (const uint16_t *) a->row[m];
        for (unsigned k = 0; k < depth; ++k) {
            const uint16_t * restrict right = (const uint16_t *) b->row[k];
            for (unsigned n = 0; n < ROW_BYTES / 4; ++n) {
                sums[n] += from_bf16(left[2 * k]) * from_bf16(right[2 * n]);
                sums[n] += from_bf16(left[2 * k + 1]) * from_bf16(right[2 * n + 1]);
            }
        }
    }
}

typedef void (*product)(struct tile *, const struct tile *, const struct tile *, unsigned, unsigned);

static enum outcome multiply(const struct code * code, product compute) {
    const unsigned c = code->reg, a = code->rm, b = code->vvvv;
    if (!compute || code->mod != 3 || !configured(c) || !configured(a) || !configured(b) ||
        c == a || a == b || c == b || config.rows[c] != config.rows[a] ||
        config.colsb[c] != config.colsb[b] || config.colsb[a] / 4 != config.rows[b]) {
        return INVALID;
    }
    compute(&tiles[c], &tiles[a], &tiles[b], config.rows[c], config.rows[b]);
    config.start_row = 0;
    return DONE;
}

static enum outcome configure(const struct code * code) {
    if (code->mod == 3) {
        if (code->prefix == 3 && code->rm == 0) {
            return zero_tile(code->reg);
        }
        if (code->prefix == 0 && code->rm == 0 && code->reg == 0) {
            memset(&config, 0, sizeof config);
            memset(tiles, 0, sizeof tiles);
            return DONE;
        }
        return INVALID;
    }
    void * memory = (void *) (code->base + code->index);
    if (code->reg != 0 || code->prefix > 1) {
        return INVALID;
    }
    if (code->prefix == 0) {
        return load_config(memory);
    }
    memcpy(memory, &config, sizeof config);
    return DONE;
}

static enum outcome emulate(const struct code * code) {
    static const product integers[4] = {dot_uu, dot_us, dot_su, dot_ss};
    switch (code->opcode) {
        case 0x49:
            return configure(code);
        case 0x4B:
            return code->mod == 3 || code->prefix == 0 ? INVALID : move_tile(code, code->prefix == 2);
        case 0x5C:
            return multiply(code, code->prefix == 2 ? dot_bf16 : NULL);
        case 0x5E:
            return multiply(code, integers[code->prefix]);
        default:
            return OTHER;
    }
}

/* --- signals ------------------------------------------------------------------------------- */

static void pass_on(const struct sigaction * to, int number, siginfo_t * info, void * context) {
    if (to->sa_flags & SA_SIGINFO) {
        to->sa_sigaction(number, info, context);
    } else if (to->sa_handler == SIG_DFL || to->sa_handler == SIG_IGN) {
        const struct sigaction end = {.sa_handler = SIG_DFL};
        real_sigaction(number, &end, NULL);
        raise(number); /* delivered now, or when the handler has returned */
    } else {
        to->sa_handler(number);
    }
}

static void general_protection(siginfo_t * info, void * context) {
    struct sigaction to;
    info->si_signo = SIGSEGV;
    info->si_code = KERNEL_SENT;
    info->si_addr = NULL;
    real_sigaction(SIGSEGV, NULL, &to);
    pass_on(&to, SIGSEGV, info, context);
}

static void on_illegal(int number, siginfo_t * info, void * raw) {
    ucontext_t * context = raw;
    const int error = errno;
    struct code code;
    enum outcome outcome = OTHER;
    if (info->si_code > 0 && decode(context, &code)) { /* not sent by a program */
        outcome = emulate(&code);
    }
    if (outcome == DONE) {
        context->uc_mcontext.gregs[REG_RIP] += code.length;
    } else if (outcome == REFUSED) {
        general_protection(info, context);
    } else {
        pass_on(&next, number, info, context);
    }
    errno = error;
}

static long system_call(long number, const long * given) {
    register long r10 __asm__("r10") = given[3];
    register long r8 __asm__("r8") = given[4];
    register long r9 __asm__("r9") = given[5];
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"(number), "D"(given[0]), "S"(given[1]), "d"(given[2]), "r"(r10), "r"(r8),
                       "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

/* Runs once, whoever comes first: this library's constructor or another's call to sigaction(). */
static void begin(void) {
    const long request[6] = {ARCH_REQUEST_PERMISSION, TILE_DATA, 0, 0, 0, 0};
    const struct sigaction mine = {.sa_sigaction = on_illegal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    if (real_sigaction) {
        return;
    }
    real_sigaction = (sigaction_function) dlsym(RTLD_NEXT, "sigaction");
    active = system_call(SYS_arch_prctl, request) != 0;
    if (active) {
        real_sigaction(SIGILL, &mine, &next);
    }
}

__attribute__((constructor)) static void construct(void) {
    begin();
}

int sigaction(int number, const struct sigaction * action, struct sigaction * old) {
    begin();
    if (number != SIGILL || !active) {
        return real_sigaction(number, action, old);
    }
    if (old) {
        *old = next;
    }
    if (action) {
        next = *action;
    }
    return 0;
}

sighandler_t signal(int number, sighandler_t handler) {
    const struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    struct sigaction old;
    return sigaction(number, &action, &old) == 0 ? old.sa_handler : SIG_ERR;
}

long syscall(long number, ...) {
    long given[6];
    va_list arguments;
    va_start(arguments, number);
    for (unsigned n = 0; n < 6; ++n) {
        given[n] = va_arg(arguments, long);
    }
    va_end(arguments);
    if (active && number == SYS_arch_prctl && given[1] == TILE_DATA &&
        given[0] == ARCH_REQUEST_PERMISSION) {
        return 0;
    }
    const long result = system_call(number, given);
    if (result < 0 && result > -4096) {
        errno = (int) -result;
        return -1;
    }
    if (active && number == SYS_arch_prctl && given[0] == ARCH_GET_PERMISSION) {
        *(uint64_t *) given[1] |= 1u << TILE_CONFIG | 1u << TILE_DATA;
    }
    return result;
}
