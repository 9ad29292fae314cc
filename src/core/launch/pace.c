/* pace.c: the generic cell rate algorithm, with its one number in a file. */
#include "launch/pace.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

/* A number further ahead is of a clock before this one. */
enum { MOST_AHEAD_S = 3600 };

static int take(int fd, int64_t interval_ns, uint32_t burst, int64_t now_ns)
{
    int64_t due_ns = 0;
    if (pread(fd, &due_ns, sizeof due_ns, 0) != sizeof due_ns || due_ns < now_ns ||
        due_ns - now_ns > MOST_AHEAD_S * EXL_NS_PER_S)
        due_ns = now_ns;
    int64_t early_ns = due_ns - now_ns - interval_ns * (burst - 1);
    due_ns += interval_ns;
    if (pwrite(fd, &due_ns, sizeof due_ns, 0) != sizeof due_ns)
        return -errno;
    return early_ns > 0 ? (int)((early_ns + EXL_NS_PER_MS - 1) / EXL_NS_PER_MS) : 0;
}

int exl_pace_take(const char *path, uint32_t interval_ms, uint32_t burst, int64_t now_ns)
{
    struct stat status;
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (fd < 0)
        return -errno;
    int rc = fstat(fd, &status) < 0 ? -errno : 0;
    /* Before the lock, which somebody else may hold for ever. */
    if (rc == 0 && (status.st_uid != geteuid() || !S_ISREG(status.st_mode)))
        rc = -EPERM;
    if (rc == 0 && flock(fd, LOCK_EX) < 0)
        rc = -errno;
    if (rc == 0)
        rc = take(fd, interval_ms * EXL_NS_PER_MS, burst ? burst : 1, now_ns);
    (void)close(fd);
    return rc;
}
