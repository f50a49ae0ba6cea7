/* AMX products against plain C, and what AMX refuses. Run with AMX or with emulator.so.
 *
 *   matmul shapes         all shapes' products of TDPB** are right in two threads; prints their count
 *   matmul bf16           the same for TDPBF16PS with numbers that are exact in any order
 *   matmul addressing     every form of memory operand, STTILECFG, start row 0 after a load
 *   matmul unconfigured   uses a tile that has rows 0: #UD
 *   matmul released       uses a tile after TILERELEASE: #UD
 *   matmul misfit         multiplies shapes that do not fit: #UD
 *   matmul same           multiplies a tile with itself: #UD
 *   matmul rows|colsb|palette|reserved|half   loads an invalid configuration: #GP
 *
 * Exit status 0: right, 1: wrong, 77: no permission to use AMX. */

#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct config {
    uint8_t palette, start_row, reserved[14];
    uint16_t colsb[16];
    uint8_t rows[16];
};

#define LDTILECFG(config) __asm__ volatile("ldtilecfg %0" ::"m"(config))
#define STTILECFG(config) __asm__ volatile("sttilecfg %0" : "=m"(config))
#define TILELOAD(tile, from, stride)                                                   \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile ::"r"(from), "r"((long) (stride)) : "memory")
#define TILESTORE(tile, to, stride)                                                    \
    __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)" ::"r"(to), "r"((long) (stride)) : "memory")

static struct config shape(unsigned m, unsigned n, unsigned k) {
    struct config config = {.palette = 1};
    config.rows[0] = (uint8_t) m, config.colsb[0] = (uint16_t) (4 * n); /* C */
    config.rows[1] = (uint8_t) m, config.colsb[1] = (uint16_t) (4 * k); /* A */
    config.rows[2] = (uint8_t) k, config.colsb[2] = (uint16_t) (4 * n); /* B */
    return config;
}

static int pick(uint8_t byte, int is_signed) {
    return is_signed ? (int8_t) byte : byte;
}

/* One product of each kind; 0 when all four agree with plain C. */
static int wrong_product(unsigned m, unsigned n, unsigned k, unsigned * seed) {
    enum { STRIDE = 80 };
    uint8_t a[16 * STRIDE], b[16 * STRIDE];
    int32_t start[16][16], c[16][16];
    const struct config config = shape(m, n, k);
    for (unsigned at = 0; at < sizeof a; ++at) {
        a[at] = (uint8_t) rand_r(seed), b[at] = (uint8_t) rand_r(seed);
    }
    for (unsigned at = 0; at < 256; ++at) {
        start[at / 16][at % 16] = rand_r(seed);
    }
    LDTILECFG(config);
    for (int kind = 0; kind < 4; ++kind) {
        memcpy(c, start, sizeof c);
        TILELOAD(0, c, sizeof *c);
        TILELOAD(1, a, STRIDE);
        __asm__ volatile("tileloaddt1 (%0,%1,1), %%tmm2" ::"r"(b), "r"((long) STRIDE) : "memory");
        switch (kind) {
            case 0: __asm__ volatile("tdpbuud %tmm2, %tmm1, %tmm0"); break;
            case 1: __asm__ volatile("tdpbusd %tmm2, %tmm1, %tmm0"); break;
            case 2: __asm__ volatile("tdpbsud %tmm2, %tmm1, %tmm0"); break;
            default: __asm__ volatile("tdpbssd %tmm2, %tmm1, %tmm0"); break;
        }
        TILESTORE(0, c, sizeof *c);
        for (unsigned i = 0; i < m; ++i) {
            for (unsigned j = 0; j < n; ++j) {
                uint32_t sum = (uint32_t) start[i][j];
                for (unsigned q = 0; q < 4 * k; ++q) {
                    sum += (uint32_t) (pick(a[i * STRIDE + q], kind & 2) *
                                       pick(b[q / 4 * STRIDE + 4 * j + q % 4], kind & 1));
                }
                if (c[i][j] != (int32_t) sum) {
                    return 1;
                }
            }
        }
    }
    return 0;
}

static void * all_shapes(void * argument) {
    unsigned seed = *(unsigned *) argument;
    long done = 0;
    for (unsigned m = 1; m <= 16; ++m) {
        for (unsigned n = 1; n <= 16; ++n) {
            for (unsigned k = 1; k <= 16; k += 3, ++done) {
                if (wrong_product(m, n, k, &seed)) {
                    printf("wrong: m %u n %u k %u\n", m, n, k);
                    return (void *) -1L;
                }
            }
        }
    }
    return (void *) done;
}

static int shapes(void) {
    unsigned seeds[2] = {1, 2};
    pthread_t other;
    void * theirs = NULL;
    if (pthread_create(&other, NULL, all_shapes, &seeds[1]) != 0) {
        return 1;
    }
    void * ours = all_shapes(&seeds[0]);
    pthread_join(other, &theirs);
    printf("%ld\n", (long) ours + (long) theirs);
    return (long) ours < 0 || (long) theirs < 0;
}

static uint16_t to_bf16(float number) {
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    return (uint16_t) (bits >> 16);
}

static int bf16(void) {
    uint16_t a[16][32], b[16][32];
    float c[16][16] = {{0}};
    const struct config config = shape(16, 16, 16);
    for (int i = 0; i < 16; ++i) {
        for (int j = 0; j < 32; ++j) { /* small whole numbers */
            a[i][j] = to_bf16((float) ((i * 7 + j * 3) % 17 - 8));
            b[i][j] = to_bf16((float) ((i * 5 + j * 11) % 13 - 6));
        }
    }
    LDTILECFG(config);
    __asm__ volatile("tilezero %tmm0");
    TILELOAD(1, a, sizeof *a);
    TILELOAD(2, b, sizeof *b);
    __asm__ volatile("tdpbf16ps %tmm2, %tmm1, %tmm0");
    TILESTORE(0, c, sizeof *c);
    for (int i = 0; i < 16; ++i) {
        for (int j = 0; j < 16; ++j) {
            int sum = 0;
            for (int q = 0; q < 32; ++q) {
                sum += ((i * 7 + q * 3) % 17 - 8) * ((q / 2 * 5 + (2 * j + q % 2) * 11) % 13 - 6);
            }
            if (c[i][j] != (float) sum) {
                return 1;
            }
        }
    }
    return 0;
}

static struct config global;

static int addressing(void) {
    struct config local = shape(2, 3, 1), back[3];
    uint32_t in[64], out[64] = {0};
    for (unsigned n = 0; n < 64; ++n) {
        in[n] = n;
    }
    memset(back, 0xFF, sizeof back);
    global = local;
    __asm__ volatile("ldtilecfg %0" ::"m"(global)); /* relative to RIP */
    __asm__ volatile("sttilecfg 64(%0)" ::"r"(back) : "memory");
    __asm__ volatile("tilerelease");
    __asm__ volatile("sttilecfg (%0,%1,8)" ::"r"(back), "r"(16L) : "memory");
    if (memcmp(&back[1], &local, sizeof local) != 0 || back[2].palette != 0) {
        return 1;
    }
    __asm__ volatile("movq %0, %%r13\n\tldtilecfg 0x100(%%r13)" ::"r"((uintptr_t) &local - 0x100)
                     : "r13", "memory");
    __asm__ volatile("movq %0, %%r12\n\tmovq %1, %%r9\n\t"
                     "tileloadd -8(%%r12,%%r9,4), %%tmm0\n\t"
                     "tilestored %%tmm0, 0x80(%2,%%r9,2)" ::"r"(in + 2), "r"(8L), "r"(out)
                     : "r9", "r12", "memory");
    for (unsigned row = 0; row < 2; ++row) {
        for (unsigned n = 0; n < 3; ++n) {
            if (out[32 + 4 * row + n] != 8 * row + n) {
                return 1;
            }
        }
    }
    return 0;
}

static int refused(const char * how) {
    struct config config = shape(8, 8, 8);
    config.rows[0] = strcmp(how, "rows") == 0 ? 17 : config.rows[0];
    config.colsb[0] = strcmp(how, "colsb") == 0 ? 68 : config.colsb[0];
    config.palette = strcmp(how, "palette") == 0 ? 2 : 1;
    config.reserved[5] = strcmp(how, "reserved") == 0;
    config.rows[7] = strcmp(how, "half") == 0; /* rows without columns */
    config.rows[2] = strcmp(how, "misfit") == 0 ? 7 : config.rows[2];
    LDTILECFG(config);
    if (strcmp(how, "unconfigured") == 0) {
        __asm__ volatile("tilezero %tmm4");
    } else if (strcmp(how, "released") == 0) {
        __asm__ volatile("tilerelease\n\ttilezero %tmm0");
    } else if (strcmp(how, "misfit") == 0) {
        __asm__ volatile("tdpbssd %tmm2, %tmm1, %tmm0");
    } else if (strcmp(how, "same") == 0) {
        /* tdpbssd %tmm1, %tmm1, %tmm0, which assemblers refuse too */
        __asm__ volatile(".byte 0xc4, 0xe2, 0x73, 0x5e, 0xc1");
    }
    return 1; /* it ought not to come here */
}

int main(int count, char ** words) {
    const char * what = count > 1 ? words[1] : "shapes";
    if (syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18) != 0) {
        return 77;
    }
    return strcmp(what, "shapes") == 0       ? shapes()
           : strcmp(what, "bf16") == 0       ? bf16()
           : strcmp(what, "addressing") == 0 ? addressing()
                                             : refused(what);
}
