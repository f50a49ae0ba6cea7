// Canary: does the compiler keep the stores that fill an AMX tile configuration?
//
// GCC 12.2 (PR target/114098) believes that `_tile_loadconfig` reads 8 of the 64 bytes, so its
// dead-store elimination may drop the stores to the other 56: tiles stay unconfigured, or hold
// what was on the stack, and the program dies at its first use of a tile.
// The function `configure` is written as ggml's ggml_tile_config_init (ggml-cpu/amx/mmq.cpp) is.
//
// The verdict needs no CPU with AMX: where LDTILECFG is an invalid instruction, the handler finds
// its operand from the instruction and the registers, and looks at the 64 bytes that it would
// have loaded. Where the instruction runs, STTILECFG tells what was loaded.
//
// Exit status: 0 right; 1 wrong, with one line on stdout; 2 this CPU cannot run the code at all.

#if !defined(__linux__) || !defined(__x86_64__)
#error "not applicable: Linux on x86-64 only"
#endif

#include <immintrin.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ucontext.h>
#include <unistd.h>

namespace {

struct Config {
    uint8_t palette_id = 0;
    uint8_t start_row = 0;
    uint8_t reserved_0[14] = {0};
    uint16_t colsb[16] = {0};
    uint8_t rows[16] = {0};
};

inline void configure() {
    static thread_local bool done = false;

    if (done) {
        return;
    }

    alignas(64) Config tc = {};
    tc.palette_id = 1;
    tc.start_row = 0;
    tc.rows[0] = 8;   tc.colsb[0] = 64;
    tc.rows[1] = 8;   tc.colsb[1] = 64;
    tc.rows[2] = 16;  tc.colsb[2] = 32;
    tc.rows[3] = 16;  tc.colsb[3] = 32;
    tc.rows[4] = 16;  tc.colsb[4] = 64;
    tc.rows[5] = 16;  tc.colsb[5] = 64;
    tc.rows[6] = 16;  tc.colsb[6] = 64;
    tc.rows[7] = 16;  tc.colsb[7] = 64;

    _tile_loadconfig(&tc);
    done = true;
}

// What `configure` asks for, as bytes: palette, start row, reserved, colsb, rows.
const uint8_t expected[64] = {
    1, 0, 0,  0, 0,  0, 0,  0, 0,  0, 0,  0, 0,  0, 0,  0,
    64, 0, 64, 0, 32, 0, 32, 0, 64, 0, 64, 0, 64, 0, 64, 0,
    0, 0, 0,  0, 0,  0, 0,  0, 0,  0, 0,  0, 0,  0, 0,  0,
    8, 8, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0,
};

uint8_t loaded[64];
volatile sig_atomic_t trapped = 0;

[[noreturn]] void end(int code, const char * line) {
    if (write(STDOUT_FILENO, line, strlen(line)) < 0) {
        code = 2;
    }
    _exit(code);
}

// The register that a 4-bit number means in an instruction, as the kernel saved it.
uintptr_t value(const ucontext_t * context, unsigned number) {
    static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                  REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                  REG_R12, REG_R13, REG_R14, REG_R15};
    return uintptr_t(context->uc_mcontext.gregs[order[number]]);
}

int32_t displacement(const uint8_t * at, unsigned bytes) {
    int32_t wide = 0;
    if (bytes == 1) {
        return int8_t(*at);
    }
    memcpy(&wide, at, bytes);
    return wide;
}

// The address of the memory operand of a VEX.128.NP.0F38.W0 49 /0 (LDTILECFG) at `code`, and the
// length of the instruction; address 0 for any other instruction.
uintptr_t operand(const ucontext_t * context, const uint8_t * code, unsigned * length) {
    const uint8_t modrm = code[4];
    const unsigned mod = modrm >> 6;
    if (code[0] != 0xC4 || (code[1] & 0x1F) != 2 || (code[2] & 0x87) != 0 || code[3] != 0x49 ||
        mod == 3 || (modrm & 0x38) != 0) {
        return 0;
    }
    const unsigned x = (code[1] & 0x40) ? 0 : 8, b = (code[1] & 0x20) ? 0 : 8;
    unsigned at = 5, bytes = mod == 1 ? 1 : mod == 2 ? 4 : 0;
    uintptr_t address = 0;
    if ((modrm & 7) == 4) {
        const uint8_t sib = code[at++];
        const unsigned index = ((sib >> 3) & 7) | x;
        if ((sib & 7) == 5 && mod == 0) {
            bytes = 4;
        } else {
            address = value(context, (sib & 7) | b);
        }
        address += index == 4 ? 0 : value(context, index) << (sib >> 6);
    } else if ((modrm & 7) == 5 && mod == 0) {
        bytes = 4;
        address = uintptr_t(code) + at + bytes;
    } else {
        address = value(context, (modrm & 7) | b);
    }
    *length = at + bytes;
    return address + uintptr_t(intptr_t(displacement(code + at, bytes)));
}

void on_illegal(int, siginfo_t *, void * raw) {
    auto * context = static_cast<ucontext_t *>(raw);
    auto & rip = context->uc_mcontext.gregs[REG_RIP];
    unsigned length = 0;
    const uintptr_t from = operand(context, reinterpret_cast<const uint8_t *>(rip), &length);
    if (from == 0) {
        end(2, "this CPU cannot run the canary\n");
    }
    memcpy(loaded, reinterpret_cast<const void *>(from), sizeof loaded);
    trapped = 1;
    rip += length;
}

void on_fault(int, siginfo_t *, void *) {
    end(1, "LDTILECFG refused the configuration: the bytes in it are not those that were stored\n");
}

void handle(int number, void (*handler)(int, siginfo_t *, void *)) {
    struct sigaction action = {};
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO;
    sigaction(number, &action, nullptr);
}

// Leaves bytes on the stack that are no tile configuration, so that luck cannot help.
__attribute__((noinline)) void soil() {
    volatile uint8_t stack[4096];
    for (auto & byte : stack) {
        byte = 0xA5;
    }
}

__attribute__((noinline)) void run() { configure(); }

}  // namespace

int main() {
    handle(SIGILL, on_illegal);
    handle(SIGSEGV, on_fault);
    soil();
    run();
    if (!trapped) {
        __asm__ volatile("sttilecfg %0" : "=m"(loaded));
    }
    for (unsigned n = 0; n < sizeof expected; ++n) {
        if (loaded[n] != expected[n]) {
            printf("byte %u of the tile configuration is %u when LDTILECFG reads it, not %u\n", n,
                   loaded[n], expected[n]);
            return 1;
        }
    }
    return 0;
}
