/* Stands between a program and its disk: records what it does to the files of one folder, in one
 * order, and lets writes and syncs fail when it is told to. It is loaded with LD_PRELOAD.
 *
 * RECORDER_FOLDER   the folder; its path must be absolute and without symbolic links
 * RECORDER_CONTROL  a file of eight 64-bit words that both sides map, see `enum word`
 * RECORDER_LOG      where the record goes; without it nothing is recorded, and only faults are made
 *
 * What is written through a shared map is not seen. SQLite does that with its `-shm` files, which it
 * makes anew after a crash: they are left out. Who reads the record replays it and compares. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* The words of the control file. */
enum word {
    SEQUENCE,     /* operations recorded so far */
    FILES,        /* numbers given to files so far */
    ROOM,         /* bytes by which files may still grow; less than 0: no limit */
    FAILING,      /* syncs that are to fail from now on; less than 0: all */
    FAILED_SYNCS, /* how many failed */
    REFUSED,      /* writes that found no room */
    SYNCS,        /* syncs that were done */
    WORDS = 8
};

enum kind { CREATE = 1, ADOPT, WRITE, CUT, SYNC, RENAME, UNLINK, LINK, MKDIR, RMDIR, SYNC_FAILED };

struct header {
    uint32_t kind, path_bytes; /* two paths are divided by a zero byte */
    uint64_t sequence, file, number, bytes; /* `number` is an offset, a size, or where a sync began */
};

/* What stands in `files` for a file of the folder that is not recorded. */
#define UNRECORDED UINT64_MAX
#define MAX_FILES 65536

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char folder[PATH_MAX];
static size_t folder_bytes;
static int log_file = -1;
static volatile int64_t *control;
static uint64_t files[MAX_FILES];
static struct known { uint64_t device, inode, file; } known[MAX_FILES];
static size_t known_count;

#define REAL(result, name, ...) static result (*real_##name)(__VA_ARGS__)
REAL(int, open64, const char *, int, ...);
REAL(int, openat64, int, const char *, int, ...);
REAL(int, close, int);
REAL(ssize_t, write, int, const void *, size_t);
REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
REAL(int, ftruncate64, int, off64_t);
REAL(int, fallocate64, int, int, off64_t, off64_t);
REAL(int, fsync, int);
REAL(int, fdatasync, int);
REAL(int, renameat2, int, const char *, int, const char *, unsigned);
REAL(int, unlinkat, int, const char *, int);
REAL(int, linkat, int, const char *, int, const char *, int);
REAL(int, mkdirat, int, const char *, mode_t);
REAL(int, fcntl64, int, int, ...);
REAL(ssize_t, copy_file_range, int, off64_t *, int, off64_t *, size_t, unsigned);
REAL(ssize_t, sendfile64, int, int, off64_t *, size_t);

static void fail(const char *what) {
    char text[256];
    int bytes = snprintf(text, sizeof text, "recorder: %s: %s\n", what, strerror(errno));
    if (real_write) real_write(2, text, bytes);
    _exit(99);
}

__attribute__((constructor)) static void begin(void) {
    static int begun;
    if (begun) return;
    begun = 1;
#define FIND(name) real_##name = (void *)dlsym(RTLD_NEXT, #name)
    FIND(open64), FIND(openat64), FIND(close), FIND(write), FIND(pwrite64), FIND(ftruncate64);
    FIND(fallocate64), FIND(fsync), FIND(fdatasync), FIND(renameat2), FIND(unlinkat), FIND(linkat);
    FIND(mkdirat), FIND(copy_file_range), FIND(sendfile64), FIND(fcntl64);
    const char *wanted = getenv("RECORDER_FOLDER"), *shared = getenv("RECORDER_CONTROL");
    const char *record = getenv("RECORDER_LOG");
    if (!wanted || !shared) return;
    int file = real_open64(shared, O_RDWR | O_CLOEXEC);
    if (file < 0) fail(shared);
    control = mmap(NULL, WORDS * 8, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (control == MAP_FAILED) fail(shared);
    real_close(file);
    if (record && (log_file = real_open64(record, O_WRONLY | O_APPEND | O_CLOEXEC)) < 0) fail(record);
    folder_bytes = strlen(wanted);
    memcpy(folder, wanted, folder_bytes + 1);
}

/* The absolute form of a path; whether it is in the folder, and not the folder itself. */
static int resolve(int at, const char *path, char *full) {
    if (path[0] == '/') {
        if (strlen(path) >= PATH_MAX) return 0;
        strcpy(full, path);
    } else {
        char link[64], base[PATH_MAX];
        if (at == AT_FDCWD) strcpy(link, "/proc/self/cwd");
        else snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        ssize_t bytes = readlink(link, base, sizeof base - 1);
        if (bytes < 0 || bytes + strlen(path) + 2 > PATH_MAX) return 0;
        base[bytes] = 0;
        strcpy(full, base), strcat(full, "/"), strcat(full, path);
    }
    size_t bytes = strlen(full);
    while (bytes > 1 && full[bytes - 1] == '/') full[--bytes] = 0;
    return folder_bytes && strncmp(full, folder, folder_bytes) == 0 && full[folder_bytes] == '/';
}

static int is_folder(const char *full) { return folder_bytes && strcmp(full, folder) == 0; }

static int unrecorded(const char *path) {
    size_t bytes = strlen(path);
    return bytes > 4 && strcmp(path + bytes - 4, "-shm") == 0;
}

/* Appends to the record; the lock is held. */
static void record(enum kind kind, uint64_t file, uint64_t number, const char *path, const char *second,
                   const void *data, size_t bytes) {
    if (log_file < 0) return;
    char paths[2 * PATH_MAX];
    size_t path_bytes = 0;
    if (path) path_bytes = strlen(path), memcpy(paths, path, path_bytes);
    if (second) {
        paths[path_bytes++] = 0;
        memcpy(paths + path_bytes, second, strlen(second)), path_bytes += strlen(second);
    }
    struct header header = {kind, path_bytes, control[SEQUENCE], file, number, bytes};
    struct { const void *bytes; size_t count; } parts[] = {
        {&header, sizeof header}, {paths, path_bytes}, {data, bytes}};
    for (int part = 0; part < 3; part++)
        for (size_t done = 0; done < parts[part].count;) {
            ssize_t written = real_write(log_file, (const char *)parts[part].bytes + done, parts[part].count - done);
            if (written < 0 && errno != EINTR) fail("cannot record");
            if (written > 0) done += written;
        }
    __atomic_add_fetch(&control[SEQUENCE], 1, __ATOMIC_SEQ_CST);
}

static uint64_t number_of(const struct stat *found, int created, const char *full) {
    struct known *entry = NULL;
    for (size_t at = 0; at < known_count && !entry; at++)
        if (known[at].inode == found->st_ino && known[at].device == found->st_dev) entry = &known[at];
    if (entry && !created) return entry->file;
    if (!entry) {
        if (known_count == MAX_FILES) fail("too many files");
        entry = &known[known_count++];
    }
    *entry = (struct known){found->st_dev, found->st_ino, ++control[FILES]};
    record(created ? CREATE : ADOPT, entry->file, 0, full, NULL, NULL, 0);
    return entry->file;
}

static uint64_t file_of(int file) { return file >= 0 && file < MAX_FILES ? files[file] : 0; }

/* Bytes that come free go back to what is left. */
static void freed(off64_t bytes) {
    if (control && control[ROOM] >= 0 && bytes > 0) control[ROOM] += bytes;
}

/* How many of the bytes there is room for. */
static size_t room(int file, off64_t offset, size_t bytes) {
    struct stat found;
    if (control[ROOM] < 0 || fstat(file, &found) < 0) return bytes;
    int64_t growth = offset + (off64_t)bytes - found.st_size;
    if (growth <= 0) return bytes;
    if (growth > control[ROOM]) {
        control[REFUSED]++;
        int64_t over = growth - control[ROOM];
        if (over >= (int64_t)bytes) return 0;
        bytes -= over, growth -= over;
    }
    control[ROOM] -= growth;
    return bytes;
}

static int opened(int at, const char *path, int flags, mode_t mode) {
    char full[PATH_MAX] = "";
    begin();
    int inside = control && resolve(at, path, full);
    if (!inside && !(control && is_folder(full))) {
        int file = real_openat64(at, path, flags, mode);
        if (file >= 0 && file < MAX_FILES) files[file] = 0;
        return file;
    }
    pthread_mutex_lock(&lock);
    struct stat before, after;
    int existed = fstatat(at, path, &before, 0) == 0;
    int file = real_openat64(at, path, flags, mode), kept = errno;
    if (file >= MAX_FILES) fail("too many open files");
    if (file >= 0 && fstat(file, &after) == 0) {
        files[file] = unrecorded(full) ? UNRECORDED : number_of(&after, !existed, full);
        if (existed && (flags & O_TRUNC) && before.st_size > 0) {
            freed(before.st_size);
            if (files[file] != UNRECORDED) record(CUT, files[file], 0, NULL, NULL, NULL, 0);
        }
    }
    pthread_mutex_unlock(&lock);
    errno = kept;
    return file;
}

#define OPEN_MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list rest; \
        va_start(rest, flags), mode = va_arg(rest, mode_t), va_end(rest); \
    }
int open(const char *path, int flags, ...) { OPEN_MODE(flags) return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { OPEN_MODE(flags) return opened(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { OPEN_MODE(flags) return opened(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { OPEN_MODE(flags) return opened(at, path, flags, mode); }
int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

int close(int file) {
    begin();
    if (file >= 0 && file < MAX_FILES) files[file] = 0;
    return real_close(file);
}

/* A second name for an open file. */
static int doubled(int file, int command, long argument) {
    begin();
    int result = real_fcntl64(file, command, argument);
    if ((command == F_DUPFD || command == F_DUPFD_CLOEXEC) && result >= 0 && result < MAX_FILES)
        files[result] = file_of(file);
    return result;
}
#define ARGUMENT(after) \
    va_list rest; \
    va_start(rest, after); \
    long argument = va_arg(rest, long); \
    va_end(rest);
int fcntl(int file, int command, ...) { ARGUMENT(command) return doubled(file, command, argument); }
int fcntl64(int file, int command, ...) { ARGUMENT(command) return doubled(file, command, argument); }

/* Writes at an offset, or where the file stands if that is less than 0. */
static ssize_t written(int file, const void *data, size_t bytes, off64_t offset) {
    begin();
    uint64_t which = file_of(file);
    if (!which) return offset < 0 ? real_write(file, data, bytes) : real_pwrite64(file, data, bytes, offset);
    pthread_mutex_lock(&lock);
    off64_t at = offset;
    struct stat found;
    if (real_fcntl64(file, F_GETFL) & O_APPEND) at = fstat(file, &found) == 0 ? found.st_size : 0;
    else if (offset < 0) at = lseek64(file, 0, SEEK_CUR);
    size_t allowed = room(file, at, bytes);
    ssize_t done = -1;
    int kept = ENOSPC;
    if (allowed > 0 || bytes == 0) {
        done = offset < 0 ? real_write(file, data, allowed) : real_pwrite64(file, data, allowed, offset);
        kept = errno;
        if (done > 0 && which != UNRECORDED) record(WRITE, which, at, NULL, NULL, data, done);
    }
    pthread_mutex_unlock(&lock);
    errno = kept;
    return done;
}

ssize_t write(int file, const void *data, size_t bytes) { return written(file, data, bytes, -1); }
ssize_t pwrite(int file, const void *data, size_t bytes, off_t offset) { return written(file, data, bytes, offset); }
ssize_t pwrite64(int file, const void *data, size_t bytes, off64_t offset) {
    return written(file, data, bytes, offset);
}

/* Parts are written one by one: a caller has to expect that fewer were written. */
static ssize_t gathered(int file, const struct iovec *parts, int count, off64_t offset) {
    ssize_t sum = 0;
    for (int part = 0; part < count; part++) {
        if (parts[part].iov_len == 0) continue;
        ssize_t done = written(file, parts[part].iov_base, parts[part].iov_len, offset < 0 ? -1 : offset + sum);
        if (done < 0) return sum ? sum : -1;
        sum += done;
        if ((size_t)done < parts[part].iov_len) break;
    }
    return sum;
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    static ssize_t (*real)(int, const struct iovec *, int);
    begin();
    if (file_of(file)) return gathered(file, parts, count, -1);
    if (!real) real = (void *)dlsym(RTLD_NEXT, "writev");
    return real(file, parts, count);
}
ssize_t pwritev(int file, const struct iovec *parts, int count, off_t offset) {
    return gathered(file, parts, count, offset);
}
ssize_t pwritev64(int file, const struct iovec *parts, int count, off64_t offset) {
    return gathered(file, parts, count, offset);
}

static int resized(int file, off64_t size) {
    begin();
    uint64_t which = file_of(file);
    if (!which) return real_ftruncate64(file, size);
    pthread_mutex_lock(&lock);
    struct stat before = {0};
    fstat(file, &before);
    int result = real_ftruncate64(file, size), kept = errno;
    if (result == 0) {
        freed(before.st_size - size);
        if (which != UNRECORDED) record(CUT, which, size, NULL, NULL, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    errno = kept;
    return result;
}
int ftruncate(int file, off_t size) { return resized(file, size); }
int ftruncate64(int file, off64_t size) { return resized(file, size); }
static int resized_by_name(const char *path, off64_t size) {
    int file = opened(AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
    if (file < 0) return -1;
    int result = resized(file, size), kept = errno;
    close(file);
    errno = kept;
    return result;
}
int truncate(const char *path, off_t size) { return resized_by_name(path, size); }
int truncate64(const char *path, off64_t size) { return resized_by_name(path, size); }

/* Room that is set aside is not modelled: who asks for it writes instead. */
static int reserved(int file, int mode, off64_t offset, off64_t bytes) {
    begin();
    if (!file_of(file)) return real_fallocate64(file, mode, offset, bytes);
    errno = EOPNOTSUPP;
    return -1;
}
int fallocate(int file, int mode, off_t offset, off_t bytes) { return reserved(file, mode, offset, bytes); }
int fallocate64(int file, int mode, off64_t offset, off64_t bytes) { return reserved(file, mode, offset, bytes); }
int posix_fallocate(int file, off_t offset, off_t bytes) { return reserved(file, 0, offset, bytes) ? errno : 0; }
int posix_fallocate64(int file, off64_t offset, off64_t bytes) {
    return reserved(file, 0, offset, bytes) ? errno : 0;
}

/* A sync covers what was written before it began. */
static int synced(int file, int (*real)(int)) {
    begin();
    uint64_t which = file_of(file);
    if (!which) return real(file);
    pthread_mutex_lock(&lock);
    uint64_t began = control[SEQUENCE];
    int failing = control[FAILING] != 0 && which != UNRECORDED;
    if (failing) {
        if (control[FAILING] > 0) control[FAILING]--;
        control[FAILED_SYNCS]++;
        record(SYNC_FAILED, which, began, NULL, NULL, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    if (failing) {
        errno = EIO;
        return -1;
    }
    int result = real(file), kept = errno;
    pthread_mutex_lock(&lock);
    control[SYNCS]++;
    if (which != UNRECORDED) record(result ? SYNC_FAILED : SYNC, which, began, NULL, NULL, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = kept;
    return result;
}
int fsync(int file) { return begin(), synced(file, real_fsync); }
int fdatasync(int file) { return begin(), synced(file, real_fdatasync); }

static int moved(int from_at, const char *from, int to_at, const char *to, unsigned flags) {
    char old[PATH_MAX], new[PATH_MAX];
    begin();
    int inside = control && (resolve(from_at, from, old) & resolve(to_at, to, new));
    if (!inside) return real_renameat2(from_at, from, to_at, to, flags);
    pthread_mutex_lock(&lock);
    struct stat over;
    int replaced = fstatat(to_at, to, &over, AT_SYMLINK_NOFOLLOW) == 0 && over.st_nlink == 1;
    int result = real_renameat2(from_at, from, to_at, to, flags), kept = errno;
    if (result == 0) {
        if (replaced) freed(over.st_size);
        record(RENAME, 0, 0, old, new, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    errno = kept;
    return result;
}
int rename(const char *from, const char *to) { return moved(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int at, const char *from, int to_at, const char *to) { return moved(at, from, to_at, to, 0); }
int renameat2(int at, const char *from, int to_at, const char *to, unsigned flags) {
    return moved(at, from, to_at, to, flags);
}

static int removed(int at, const char *path, int flags) {
    char full[PATH_MAX];
    begin();
    if (!control || !resolve(at, path, full)) return real_unlinkat(at, path, flags);
    pthread_mutex_lock(&lock);
    struct stat before = {0};
    fstatat(at, path, &before, AT_SYMLINK_NOFOLLOW);
    int result = real_unlinkat(at, path, flags), kept = errno;
    if (result == 0) {
        if (before.st_nlink == 1) freed(before.st_size);
        if (!unrecorded(full)) record(flags & AT_REMOVEDIR ? RMDIR : UNLINK, 0, 0, full, NULL, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    errno = kept;
    return result;
}
int unlink(const char *path) { return removed(AT_FDCWD, path, 0); }
int unlinkat(int at, const char *path, int flags) { return removed(at, path, flags); }
int rmdir(const char *path) { return removed(AT_FDCWD, path, AT_REMOVEDIR); }

int linkat(int from_at, const char *from, int to_at, const char *to, int flags) {
    char old[PATH_MAX], new[PATH_MAX];
    begin();
    if (!control || !(resolve(from_at, from, old) & resolve(to_at, to, new)))
        return real_linkat(from_at, from, to_at, to, flags);
    pthread_mutex_lock(&lock);
    int result = real_linkat(from_at, from, to_at, to, flags), kept = errno;
    if (result == 0) record(LINK, 0, 0, old, new, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = kept;
    return result;
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

static int made(int at, const char *path, mode_t mode) {
    char full[PATH_MAX];
    begin();
    if (!control || !resolve(at, path, full)) return real_mkdirat(at, path, mode);
    pthread_mutex_lock(&lock);
    int result = real_mkdirat(at, path, mode), kept = errno;
    struct stat found;
    if (result == 0) {
        /* It may have the inode of a file that was removed. */
        for (size_t entry = 0; fstatat(at, path, &found, 0) == 0 && entry < known_count; entry++)
            if (known[entry].inode == found.st_ino && known[entry].device == found.st_dev)
                known[entry] = known[--known_count];
        record(MKDIR, 0, 0, full, NULL, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    errno = kept;
    return result;
}
int mkdir(const char *path, mode_t mode) { return made(AT_FDCWD, path, mode); }
int mkdirat(int at, const char *path, mode_t mode) { return made(at, path, mode); }

/* What is copied in the kernel is not seen: who tries has to write. */
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t bytes, unsigned flags) {
    begin();
    if (!file_of(out)) return real_copy_file_range(in, from, out, to, bytes, flags);
    errno = ENOSYS;
    return -1;
}
static ssize_t sent(int out, int in, off64_t *from, size_t bytes) {
    begin();
    if (!file_of(out)) return real_sendfile64(out, in, from, bytes);
    errno = ENOSYS;
    return -1;
}
ssize_t sendfile(int out, int in, off_t *from, size_t bytes) { return sent(out, in, from, bytes); }
ssize_t sendfile64(int out, int in, off64_t *from, size_t bytes) { return sent(out, in, from, bytes); }
