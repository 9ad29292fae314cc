/* test_result_file.c: what is written is read; what is not a whole result file is refused, and never believed. */
#include "store/result_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/checksum.h"
#include "store/lookup3.h"
#include "support.h"

enum { LARGE = 600000 };

static char folder[] = "/tmp/exl-result-XXXXXX";
static char path[64];

static int begin(void **state)
{
    int rc = exl_test_begin(state);
    (void)strcpy(folder + sizeof folder - 7, "XXXXXX");
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/a_o.h5", folder);
    return rc;
}

/* Nothing but the file itself may be left. */
static int end(void **state)
{
    (void)unlink(path);
    (void)rmdir(path);
    assert_int_equal(rmdir(folder), 0);
    return exl_test_end(state);
}

static exl_result_file_t *open_file(void)
{
    exl_error_t err = {""};
    exl_result_file_t *file = NULL;
    int rc = exl_result_file_open(path, &file, &err);
    if (rc < 0)
        print_error("%s\n", err.text);
    assert_int_equal(rc, 0);
    return file;
}

static void assert_field(exl_result_file_t *file, const char *name, const void *bytes, size_t size)
{
    size_t found = 0;
    assert_int_equal(exl_result_file_find(file, name, &found, NULL), 1);
    assert_int_equal(found, size);
    char *copy = malloc(size + 1);
    assert_int_equal(exl_result_file_read(file, copy, NULL), 0);
    assert_memory_equal(copy, bytes, size);
    free(copy);
}

static void write_two(const void *output, size_t size, unsigned flags)
{
    struct iovec pieces[] = {{(char *)"fun", 3}, {(char *)"", 0}, {(char *)"ction", 5}};
    struct iovec one = {(void *)(uintptr_t)output, size};
    exl_field_t fields[] = {{"function", pieces, 3}, {"output", &one, 1}};
    exl_error_t err = {""};
    int rc = exl_result_file_write(path, fields, 2, flags, &err);
    if (rc < 0)
        print_error("%s\n", err.text);
    assert_int_equal(rc, 0);
}

static char *make_bytes(size_t size)
{
    char *bytes = malloc(size + 1);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)(i * 7 + i / 251 + 1);
    return bytes;
}

/* The sizes at which the way of storing changes, and those around them. */
static const size_t sizes[] = {0, 1, 59999, 60000, 60001, 65536, 262100, 262144, 262145, LARGE, 3 << 20};

static void what_is_written_is_read(void **state)
{
    for (unsigned flags = 0; flags < 4; flags++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            char *bytes = make_bytes(sizes[i]);
            size_t size;
            write_two(bytes, sizes[i], flags);
            exl_result_file_t *file = open_file();
            assert_int_equal(exl_result_file_count(file), 2);
            assert_field(file, "function", "function", 8);
            assert_field(file, "output", bytes, sizes[i]);
            assert_int_equal(exl_result_file_find(file, "error", &size, NULL), 0);
            exl_result_file_close(file);
            free(bytes);
        }
}

static void large_fields_of_many_pieces_are_joined(void **state)
{
    enum { PIECES = 1000, EACH = 700 };
    struct iovec *pieces = calloc(PIECES, sizeof *pieces);
    char *bytes = make_bytes((size_t)PIECES * EACH);
    for (size_t i = 0; i < PIECES; i++)
        pieces[i] = (struct iovec){bytes + i * EACH, EACH};
    exl_field_t field = {"output", pieces, PIECES};
    assert_int_equal(exl_result_file_write(path, &field, 1, 0, NULL), 0);
    exl_result_file_t *file = open_file();
    assert_field(file, "output", bytes, (size_t)PIECES * EACH);
    exl_result_file_close(file);
    free(bytes);
    free(pieces);
}

static void bad_names_are_refused(void **state)
{
    static const char *const names[] = {"", ".", "a/b",
                                        "sixty-four characters are one more than the name of a field may have"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        exl_field_t field = {names[i], NULL, 0};
        assert_int_equal(exl_result_file_write(path, &field, 1, 0, NULL), -EINVAL);
    }
}

static void a_missing_folder_is_an_error(void **state)
{
    exl_field_t field = {"output", NULL, 0};
    assert_int_equal(exl_result_file_write("/nonexistent/a", &field, 1, 0, NULL), -ENOENT);
    exl_result_file_t *file;
    assert_int_equal(exl_result_file_open("/nonexistent/a", &file, NULL), -ENOENT);
}

static void what_is_in_the_way_stays_and_no_temporary_file(void **state)
{
    exl_field_t field = {"output", NULL, 0};
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(exl_result_file_write(path, &field, 1, 0, NULL), -EISDIR);
}

/* ---- damage ---- */

/* True if it is refused, or what can be read of it is right. */
static bool is_harmless(const char *output, size_t size)
{
    exl_result_file_t *file;
    exl_error_t err = {""};
    size_t found = 0;
    int rc = exl_result_file_open(path, &file, &err);
    if (rc < 0)
        return rc == EXL_EFILE && *err.text;
    bool fine = true;
    rc = exl_result_file_find(file, "output", &found, &err);
    char *bytes = malloc(found + 1);
    if (rc > 0 && exl_result_file_read(file, bytes, &err) == 0)
        fine = found == size && memcmp(bytes, output, size) == 0;
    else
        fine = rc != 0; /* that a field is missing must not be believed */
    free(bytes);
    exl_result_file_close(file);
    return fine;
}

static char *slurp(size_t *ret_size)
{
    struct stat status;
    int fd = open(path, O_RDONLY);
    assert_int_equal(fstat(fd, &status), 0);
    char *bytes = malloc((size_t)status.st_size);
    exl_test_read(fd, bytes, (size_t)status.st_size);
    (void)close(fd);
    *ret_size = (size_t)status.st_size;
    return bytes;
}

static void spit(const char *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    exl_test_write(fd, bytes, size);
    (void)close(fd);
}

static void cut_short_anywhere_is_found(void **state)
{
    write_two("result", 6, 0);
    size_t size;
    char *whole = slurp(&size);
    for (size_t length = 0; length < size; length++) {
        spit(whole, length);
        assert_true(is_harmless("result", 6));
    }
    free(whole);
}

static void every_flipped_byte_is_found(void **state)
{
    write_two("result", 6, 0);
    size_t size;
    char *whole = slurp(&size);
    for (size_t at = 0; at < size; at++) {
        whole[at] = (char)~whole[at];
        spit(whole, size);
        assert_true(is_harmless("result", 6));
        whole[at] = (char)~whole[at];
    }
    free(whole);
}

/* What a power cut leaves: a file of the right length, of which some pages never reached the disk. */
static void pages_of_zeros_are_found(void **state)
{
    enum { PAGE = 4096 };
    char *output = make_bytes(LARGE);
    write_two(output, LARGE, 0);
    size_t size;
    char *whole = slurp(&size);
    for (size_t at = 0; at < size; at += PAGE) {
        char page[PAGE];
        size_t length = size - at < PAGE ? size - at : PAGE;
        memcpy(page, whole + at, length);
        memset(whole + at, 0, length);
        spit(whole, size);
        assert_true(is_harmless(output, LARGE));
        memcpy(whole + at, page, length);
    }
    free(whole);
    free(output);
}

static void assert_refused(const char *text)
{
    exl_result_file_t *file;
    exl_error_t err = {""};
    assert_int_equal(exl_result_file_open(path, &file, &err), EXL_EFILE);
    if (!strstr(err.text, text))
        fail_msg("\"%s\" instead of \"%s\"", err.text, text);
}

static void what_is_no_file_is_refused_at_once(void **state)
{
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_refused("not a regular file");
    (void)unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_refused("not a regular file");
    (void)rmdir(path);
    assert_int_equal(symlink("/dev/zero", path), 0);
    assert_refused("not a regular file");
}

static void what_is_no_result_file_is_refused(void **state)
{
    spit("", 0);
    assert_refused("empty");
    spit("some text that is no HDF5", 25);
    assert_refused("not an HDF5 file");
    assert_int_equal(truncate(path, (off_t)1 << 40), 0);
    assert_refused("not an HDF5 file");
}

/* ---- sums ---- */

static void lookup3_is_as_published(void **state)
{
    static const char text[] = "Four score and seven years ago";
    assert_int_equal(exl_lookup3((const uint8_t *)"", 0), 0xdeadbeef);
    assert_int_equal(exl_lookup3((const uint8_t *)text, sizeof text - 1), 0x17770551);
}

static void a_checksum_does_not_depend_on_the_pieces(void **state)
{
    char *bytes = make_bytes(1000);
    exl_checksum_t whole, pieces, other;
    exl_checksum_init(&whole);
    exl_checksum_add(&whole, bytes, 1000);
    for (size_t each = 1; each < 100; each++) {
        exl_checksum_init(&pieces);
        for (size_t at = 0; at < 1000; at += each)
            exl_checksum_add(&pieces, bytes + at, 1000 - at < each ? 1000 - at : each);
        assert_true(exl_checksum_value(&pieces) == exl_checksum_value(&whole));
    }
    exl_checksum_init(&other);
    exl_checksum_add(&other, bytes, 999);
    assert_true(exl_checksum_value(&other) != exl_checksum_value(&whole));
    exl_checksum_add(&other, "", 1);
    assert_true(exl_checksum_value(&other) != exl_checksum_value(&whole));
    free(bytes);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_written_is_read),
        TEST(large_fields_of_many_pieces_are_joined),
        TEST(bad_names_are_refused),
        TEST(a_missing_folder_is_an_error),
        TEST(what_is_in_the_way_stays_and_no_temporary_file),
        TEST(cut_short_anywhere_is_found),
        TEST(every_flipped_byte_is_found),
        TEST(pages_of_zeros_are_found),
        TEST(what_is_no_file_is_refused_at_once),
        TEST(what_is_no_result_file_is_refused),
        EXL_TEST(lookup3_is_as_published),
        EXL_TEST(a_checksum_does_not_depend_on_the_pieces),
    };
    return EXL_RUN(tests);
}
