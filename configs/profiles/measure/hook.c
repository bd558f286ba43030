/* Preloaded into the measured process: opens the userfaultfds that `pages.py` takes from outside.
 *
 * A userfaultfd watches the memory of the process that opened it, so this part cannot be done by
 * the observer. Two are opened because mappings that belong to different ones are never merged:
 * it is how `pages.py` keeps groups of pages apart. Transparent huge pages are turned off, as
 * templates are made of 4 KiB pages. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

__attribute__((constructor)) static void open_hooks(void)
{
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    for (int i = 0; i < 2; i++)
        syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
}
