/* A static program without a runtime: answers requests, one a line, while its registers hold a pattern. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t lock;
static pthread_cond_t told = PTHREAD_COND_INITIALIZER;
static pthread_mutex_t talk = PTHREAD_MUTEX_INITIALIZER;
static int may_end;
static pthread_t holder;
static int has_512;

/* Takes the lock and ends with it when it is told to. */
static void *hold(void *nothing) {
    pthread_mutex_lock(&lock);
    pthread_mutex_lock(&talk);
    may_end = -1;
    pthread_cond_broadcast(&told);
    while (may_end != 1)
        pthread_cond_wait(&told, &talk);
    pthread_mutex_unlock(&talk);
    return nothing;
}

static uint8_t in[16 * 64], out[16 * 64];

/* read(0, line, size) with `in` in sixteen vector registers; what they hold afterwards is in `out`. */
static long read_with_vectors(char *line, long size) {
    long got;
    if (has_512) {
#define LOAD(n) "vmovdqu64 " #n "*64(%[in]), %%zmm" #n "\n"
#define KEEP(n) "vmovdqu64 %%zmm" #n ", " #n "*64(%[out])\n"
#define EACH(do) do(0) do(1) do(2) do(3) do(4) do(5) do(6) do(7) do(8) do(9) do(10) do(11) do(12) do(13) do(14) do(15)
        __asm__ volatile(EACH(LOAD) "syscall\n" EACH(KEEP)
                         : "=a"(got)
                         : "0"(SYS_read), "D"(0L), "S"(line), "d"(size), [in] "r"(in), [out] "r"(out)
                         : "rcx", "r11", "memory");
    } else {
#undef LOAD
#undef KEEP
#define LOAD(n) "vmovdqu " #n "*64(%[in]), %%ymm" #n "\n"
#define KEEP(n) "vmovdqu %%ymm" #n ", " #n "*64(%[out])\n"
        __asm__ volatile(EACH(LOAD) "syscall\n" EACH(KEEP)
                         : "=a"(got)
                         : "0"(SYS_read), "D"(0L), "S"(line), "d"(size), [in] "r"(in), [out] "r"(out)
                         : "rcx", "r11", "memory");
    }
    return got;
}

static int vectors_are_kept(void) {
    for (int n = 0; n < 16; n++)
        if (memcmp(in + n * 64, out + n * 64, has_512 ? 64 : 32))
            return 0;
    return 1;
}

/* The kernel keeps the number of the processor in the registered memory. */
static int sequences_are_kept(void) {
    if (__rseq_size == 0)
        return 1;
    struct rseq *area = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
    cpu_set_t all, one;
    sched_getaffinity(0, sizeof all, &all);
    int right = 1;
    for (int n = 0; n < CPU_SETSIZE; n++) {
        if (!CPU_ISSET(n, &all))
            continue;
        CPU_ZERO(&one);
        CPU_SET(n, &one);
        sched_setaffinity(0, sizeof one, &one);
        right &= *(volatile uint32_t *)&area->cpu_id == (uint32_t)n;
    }
    sched_setaffinity(0, sizeof all, &all);
    return right;
}

static int robust_locks_are_kept(void) {
    if (pthread_mutex_trylock(&lock) != EBUSY)
        return 0;
    pthread_mutex_lock(&talk);
    may_end = 1;
    pthread_cond_broadcast(&told);
    pthread_mutex_unlock(&talk);
    pthread_join(holder, NULL);
    /* Its end has given the lock up, with a note that nobody has unlocked it. */
    return pthread_mutex_lock(&lock) == EOWNERDEAD;
}

int main(void) {
    pthread_mutexattr_t robust;
    pthread_mutexattr_init(&robust);
    pthread_mutexattr_setrobust(&robust, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&lock, &robust);
    pthread_create(&holder, NULL, hold, NULL);
    pthread_mutex_lock(&talk);
    while (may_end != -1)
        pthread_cond_wait(&told, &talk);
    pthread_mutex_unlock(&talk);
    has_512 = __builtin_cpu_supports("avx512f");
    for (int n = 0; n < (int)sizeof in; n++)
        in[n] = (uint8_t)(n * 37 + 11);
    dprintf(1, "{\"ready\":true}\n");
    static char line[4096];
    long calls = 0, got;
    while ((got = read_with_vectors(line, sizeof line - 1)) != 0) {
        if (got < 0)
            continue;
        line[got] = 0;
        char *id = strstr(line, "\"id\":");
        long number = id ? strtol(id + 5, NULL, 10) : 0;
        int robust_kept = strstr(line, "robust") ? robust_locks_are_kept() : -1;
        dprintf(1, "{\"id\":%ld,\"ok\":true,\"output\":{\"calls\":%ld,\"vectors\":%d,\"bytes\":%d,\"sequences\":%d,\"robust\":%d}}\n",
                number, ++calls, vectors_are_kept(), has_512 ? 64 : 32, sequences_are_kept(), robust_kept);
    }
    return 0;
}
