/* A disk that does not give one file: preloaded into a program, opening a path that ends in $FAULT_PATH fails
 * with $FAULT_ERRNO from the $FAULT_FROM-th time on, counted from 1. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

static atomic_int opened;

static int fails(const char *path) {
    const char *end = getenv("FAULT_PATH");
    size_t length = strlen(path), tail = end ? strlen(end) : 0;
    if (!end || length < tail || strcmp(path + length - tail, end) != 0)
        return 0;
    if (atomic_fetch_add(&opened, 1) + 1 < atoi(getenv("FAULT_FROM")))
        return 0;
    errno = atoi(getenv("FAULT_ERRNO"));
    return 1;
}

#define OPEN(name)                                                            \
    int name(const char *path, int flags, ...) {                              \
        va_list rest;                                                         \
        va_start(rest, flags);                                                \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                         \
        if (fails(path))                                                      \
            return -1;                                                        \
        int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, #name);        \
        return real(path, flags, mode);                                       \
    }

OPEN(open)
OPEN(open64)
