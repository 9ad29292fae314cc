/* Tests of node/ticket.c. */
#include "node/ticket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support.h"

static char parent[] = "/tmp/exl-ticket-XXXXXX", directory[64], path[EXL_TICKET_PATH_MAX];
static exl_error_t err;

static int setup(void **state)
{
    (void)state;
    if (!mkdtemp(parent))
        return -1;
    (void)snprintf(directory, sizeof directory, "%s/private", parent);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    (void)rmdir(directory);
    return rmdir(parent);
}

static exl_ticket_t some_ticket(void)
{
    exl_ticket_t ticket = {.port = 4711, .name = "ranks-1", .addresses = "10.0.0.1 127.0.0.1"};
    for (size_t i = 0; i < sizeof ticket.key; i++)
        ticket.key[i] = (uint8_t)(i * 7);
    for (size_t i = 0; i < sizeof ticket.secret; i++)
        ticket.secret[i] = (uint8_t)(255 - i);
    return ticket;
}

static void test_what_was_written_is_read(void **state)
{
    (void)state;
    exl_ticket_t ticket = some_ticket(), found;
    struct stat status;
    memset(&found, 0, sizeof found);
    assert_int_equal(exl_ticket_write(&ticket, directory, path, &err), 0);
    assert_int_equal(stat(directory, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_int_equal(exl_ticket_read(path, &found, &err), 0);
    assert_int_equal(found.port, 4711);
    assert_string_equal(found.name, ticket.name);
    assert_string_equal(found.addresses, ticket.addresses);
    assert_memory_equal(found.key, ticket.key, sizeof found.key);
    assert_memory_equal(found.secret, ticket.secret, sizeof found.secret);
    exl_ticket_wipe(&found);
    assert_memory_not_equal(found.key, ticket.key, sizeof found.key);
}

static void test_files_that_others_may_read_are_refused(void **state)
{
    (void)state;
    exl_ticket_t found;
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(exl_ticket_read(path, &found, &err), -EPERM);
    assert_int_equal(chmod(path, 0600), 0);
    char link[128];
    (void)snprintf(link, sizeof link, "%s/link", directory);
    assert_int_equal(symlink(path, link), 0);
    assert_int_equal(exl_ticket_read(link, &found, &err), -ELOOP);
    assert_int_equal(unlink(link), 0);
}

static void test_damaged_files_are_refused(void **state)
{
    (void)state;
    exl_ticket_t found;
    char text[2048];
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t size = fread(text, 1, sizeof text, file);
    assert_int_equal(fclose(file), 0);
    for (size_t cut = 0; cut + 1 < size; cut++) {
        assert_int_equal(truncate(path, (off_t)cut), 0);
        assert_int_equal(exl_ticket_read(path, &found, &err), EXL_EPROTOCOL);
        assert_non_null(file = fopen(path, "w"));
        assert_int_equal(fwrite(text, 1, size, file), size);
        assert_int_equal(fclose(file), 0);
    }
    assert_int_equal(exl_ticket_read(path, &found, &err), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(exl_ticket_read(path, &found, &err), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_written_is_read),
        cmocka_unit_test(test_files_that_others_may_read_are_refused),
        cmocka_unit_test(test_damaged_files_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
