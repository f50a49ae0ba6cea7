/* Crash evidence: a preloaded library that writes one line of JSON when the program is ended by a
 * fault, and then lets it be ended.
 *
 *   LD_PRELOAD=crash.so LLAMABUILD_CRASH_REPORT=report.json program ...
 *
 * The line: {"signal": number, "code": si_code, "arch": "x86_64", "pc": address,
 * "instruction": up to 16 bytes at pc in hex, "module": file, "offset": pc from where it is mapped}
 *
 * In the handler only async-signal-safe calls are used: no malloc, no stdio, no dladdr (it takes
 * the loader's lock); the module is looked up in /proc/self/maps. Signals for which the program
 * has a handler of its own are its own; one that is installed later wins too. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

#if defined(__x86_64__)
#define ARCH "x86_64"
#define PROGRAM_COUNTER(context) ((uintptr_t) (context)->uc_mcontext.gregs[REG_RIP])
#elif defined(__aarch64__)
#define ARCH "aarch64"
#define PROGRAM_COUNTER(context) ((uintptr_t) (context)->uc_mcontext.pc)
#else
#define ARCH ""
#define PROGRAM_COUNTER(context) ((void) (context), (uintptr_t) 0)
#endif

static const int signals[] = {SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGABRT};

enum { MODULE = 1024, BYTES = 16 };

static char report[4096];
static pid_t reporter; /* the thread that reports, 0 before */

/* Where an address lies: the file mapped there, where that file begins, what may be read. */
struct place {
    uintptr_t base;
    uintptr_t readable_end; /* 0: nothing may be read */
    char module[MODULE];
};

static char * put_text(char * at, const char * text) {
    while (*text) {
        *at++ = *text++;
    }
    return at;
}

static char * put_number(char * at, int64_t number) {
    char digits[24];
    int count = 0;
    uint64_t rest = number < 0 ? 0 - (uint64_t) number : (uint64_t) number;
    if (number < 0) {
        *at++ = '-';
    }
    do {
        digits[count++] = (char) ('0' + rest % 10);
    } while (rest /= 10);
    while (count) {
        *at++ = digits[--count];
    }
    return at;
}

static char * put_hex(char * at, const uint8_t * bytes, size_t count) {
    for (size_t n = 0; n < count; ++n) {
        *at++ = "0123456789abcdef"[bytes[n] >> 4];
        *at++ = "0123456789abcdef"[bytes[n] & 15];
    }
    return at;
}

static char * put_json(char * at, const char * text) {
    for (; *text; ++text) {
        if (*text == '"' || *text == '\\') {
            *at++ = '\\';
        }
        *at++ = (unsigned char) *text < ' ' ? '?' : *text;
    }
    return at;
}

static const char * take_hex(const char * at, uintptr_t * number) {
    *number = 0;
    for (;; ++at) {
        if (*at >= '0' && *at <= '9') {
            *number = *number * 16 + (uintptr_t) (*at - '0');
        } else if (*at >= 'a' && *at <= 'f') {
            *number = *number * 16 + (uintptr_t) (*at - 'a' + 10);
        } else {
            return at;
        }
    }
}

/* One line of /proc/self/maps: "start-end rwxp offset device inode   path". `last` is the file of
 * the lines before and `base` where its first one began. True when the line holds `pc`. */
static int match(const char * line, uintptr_t pc, char * last, uintptr_t * base,
                 struct place * found) {
    uintptr_t start, end;
    const char * rights = take_hex(take_hex(line, &start) + 1, &end) + 1;
    const char * path = strchr(line, '/');
    path = path ? path : "";
    if (strncmp(path, last, MODULE - 1) != 0) {
        strncpy(last, path, MODULE - 1);
        *base = start;
    }
    if (pc < start || pc >= end) {
        return 0;
    }
    found->base = *base;
    found->readable_end = rights[0] == 'r' ? end : 0;
    strcpy(found->module, last);
    return 1;
}

static void look_up(uintptr_t pc, struct place * found) {
    static char block[4096], line[MODULE + 128], last[MODULE];
    const int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    uintptr_t base = 0;
    size_t used = 0;
    ssize_t got;
    while (maps >= 0 && (got = read(maps, block, sizeof block)) > 0) {
        for (ssize_t n = 0; n < got; ++n) {
            if (block[n] != '\n') {
                used += used < sizeof line - 1;
                line[used - 1] = block[n];
                continue;
            }
            line[used] = 0;
            used = 0;
            if (match(line, pc, last, &base, found)) {
                close(maps);
                return;
            }
        }
    }
    if (maps >= 0) {
        close(maps);
    }
}

static void write_report(int number, const siginfo_t * info, uintptr_t pc) {
    static char text[2 * MODULE + 512]; /* every character of the module may need a backslash */
    static struct place place;
    size_t count = 0;
    char * at = text;
    look_up(pc, &place);
    if (place.readable_end) {
        count = place.readable_end - pc < BYTES ? place.readable_end - pc : BYTES;
    }
    at = put_number(put_text(at, "{\"signal\": "), number);
    at = put_number(put_text(at, ", \"code\": "), info->si_code);
    at = put_number(put_text(at, ", \"arch\": \"" ARCH "\", \"pc\": "), (int64_t) pc);
    at = put_hex(put_text(at, ", \"instruction\": \""), (const uint8_t *) pc, count);
    at = put_json(put_text(at, "\", \"module\": \""), place.module);
    at = put_number(put_text(at, "\", \"offset\": "), (int64_t) (place.base ? pc - place.base : 0));
    at = put_text(at, "}\n");
    const int file = open(report, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file >= 0) {
        if (write(file, text, (size_t) (at - text)) < 0) {
            /* Nothing is left to tell it to; the exit status still says which signal it was. */
        }
        close(file);
    }
}

static void on_fault(int number, siginfo_t * info, void * context) {
    const int error = errno;
    const pid_t self = (pid_t) syscall(SYS_gettid);
    pid_t nobody = 0;
    if (__atomic_compare_exchange_n(&reporter, &nobody, self, 0, __ATOMIC_SEQ_CST,
                                    __ATOMIC_SEQ_CST)) {
        write_report(number, info, PROGRAM_COUNTER((ucontext_t *) context));
    } else if (nobody != self) {
        for (;;) { /* another thread is reporting and will end the process */
            pause();
        }
    }
    /* The default action ends the process with this signal: at once when it was sent, or when the
     * instruction faults again after the return. */
    signal(number, SIG_DFL);
    raise(number);
    errno = error;
}

/* A stack of its own for the main thread, so that running out of stack is reported too. It must
 * hold a frame with AMX tiles: the kernel refuses AMX to a process with a smaller one. */
static void give_stack(void) {
    const size_t size = getauxval(AT_MINSIGSTKSZ) + 65536;
    stack_t old, mine = {.ss_size = size};
    if (sigaltstack(NULL, &old) != 0 || !(old.ss_flags & SS_DISABLE)) {
        return;
    }
    mine.ss_sp = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mine.ss_sp != MAP_FAILED) {
        sigaltstack(&mine, NULL);
    }
}

__attribute__((constructor)) static void begin(void) {
    const char * name = getenv("LLAMABUILD_CRASH_REPORT");
    if (!name || !*name || strlen(name) >= sizeof report) {
        return;
    }
    strcpy(report, name);
    give_stack();
    for (size_t n = 0; n < sizeof signals / sizeof *signals; ++n) {
        struct sigaction old, mine = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
        if (sigaction(signals[n], NULL, &old) == 0 && old.sa_handler == SIG_DFL) {
            sigaction(signals[n], &mine, NULL);
        }
    }
}
