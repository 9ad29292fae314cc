/* ticket.c: five lines of text. */
#include "node/ticket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char first_line[] = "executorlib ranks 1";

enum { TEXT_MAX = 2048 };

static void put_hex(FILE *file, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        (void)fprintf(file, "%02x", bytes[i]);
    (void)fputc('\n', file);
}

static int write_text(const exl_ticket_t *ticket, int fd)
{
    FILE *file = fdopen(fd, "w");
    if (!file) {
        (void)close(fd);
        return -ENOMEM;
    }
    (void)fprintf(file, "%s\n%u %s\n%s\n", first_line, ticket->port, ticket->name, ticket->addresses);
    put_hex(file, ticket->key, sizeof ticket->key);
    put_hex(file, ticket->secret, sizeof ticket->secret);
    bool written = !ferror(file);
    return fclose(file) == 0 && written ? 0 : -EIO;
}

int exl_ticket_write(const exl_ticket_t *ticket, const char *directory, char ret_path[EXL_TICKET_PATH_MAX],
                     exl_error_t *err)
{
    char path[EXL_TICKET_PATH_MAX];
    int length = snprintf(path, sizeof path, "%s/ranks-XXXXXX", directory);
    if (length < 0 || (size_t)length >= sizeof path)
        return exl_error_set(err, -ENAMETOOLONG, "the name of the directory %s is too long", directory);
    (void)mkdir(directory, S_IRWXU);
    int fd = mkostemp(path, O_CLOEXEC); /* 0600 */
    int rc = fd < 0 ? -errno : write_text(ticket, fd);
    if (rc < 0 && fd >= 0)
        (void)unlink(path);
    if (rc < 0)
        return exl_error_set(err, rc, "cannot write a file in %s for MPI ranks on other nodes: %s", directory,
                             exl_strerror(rc));
    memcpy(ret_path, path, (size_t)length + 1);
    return 0;
}

static int get_hex(const char *digits, uint8_t *bytes, size_t size)
{
    if (strlen(digits) != 2 * size)
        return EXL_EPROTOCOL;
    for (size_t i = 0; i < size; i++) {
        unsigned value;
        if (sscanf(digits + 2 * i, "%2x", &value) != 1)
            return EXL_EPROTOCOL;
        bytes[i] = (uint8_t)value;
    }
    return 0;
}

static int parse(char *text, exl_ticket_t *ticket)
{
    enum { LINES = 5 };
    char *lines[LINES], *rest = text, *end;
    for (size_t i = 0; i < LINES; i++)
        if (!(lines[i] = strsep(&rest, "\n")))
            return EXL_EPROTOCOL;
    unsigned long port = strtoul(lines[1], &end, 10);
    if (strcmp(lines[0], first_line) != 0 || port == 0 || port > UINT16_MAX || *end != ' ' || !end[1] ||
        strlen(end + 1) > EXL_TLS_NAME_MAX || strlen(lines[2]) > EXL_TICKET_ADDRESSES_MAX)
        return EXL_EPROTOCOL;
    ticket->port = (uint16_t)port;
    memcpy(ticket->name, end + 1, strlen(end + 1) + 1);
    memcpy(ticket->addresses, lines[2], strlen(lines[2]) + 1);
    int rc = get_hex(lines[3], ticket->key, sizeof ticket->key);
    return rc < 0 ? rc : get_hex(lines[4], ticket->secret, sizeof ticket->secret);
}

static int read_text(const char *path, char text[TEXT_MAX])
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc = fstat(fd, &status) < 0 ? -errno : 0;
    if (rc == 0 && (status.st_uid != geteuid() || (status.st_mode & (S_IRWXG | S_IRWXO)) || !S_ISREG(status.st_mode)))
        rc = -EPERM;
    ssize_t got = rc == 0 ? read(fd, text, TEXT_MAX - 1) : 0;
    if (got < 0)
        rc = -errno;
    else
        text[got] = '\0';
    (void)close(fd);
    return rc;
}

int exl_ticket_read(const char *path, exl_ticket_t *ret_ticket, exl_error_t *err)
{
    char text[TEXT_MAX];
    exl_ticket_t ticket;
    int rc = read_text(path, text);
    if (rc == 0)
        rc = parse(text, &ticket);
    explicit_bzero(text, sizeof text);
    if (rc < 0)
        return exl_error_set(err, rc, "cannot read %s, which tells where the program is: %s", path, exl_strerror(rc));
    *ret_ticket = ticket;
    exl_ticket_wipe(&ticket);
    return 0;
}

void exl_ticket_wipe(exl_ticket_t *ticket)
{
    explicit_bzero(ticket->key, sizeof ticket->key);
    explicit_bzero(ticket->secret, sizeof ticket->secret);
}
