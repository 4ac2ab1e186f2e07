/* Hands clock_nanosleep to the kernel: libfaketime 0.9.10 answers EINVAL when a moment to sleep until has just passed,
 * which Python 3.11's time.sleep then raises. Only the wall clock is moved in a drill, and nothing here sleeps by it. */

#define _GNU_SOURCE
#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *until, struct timespec *left) {
  return syscall(SYS_clock_nanosleep, clock, flags, until, left) ? errno : 0;
}
