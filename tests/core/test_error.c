/* test_error.c: names of codes, texts of errors, and the log hook. */
#include "base/error.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "support.h"

static void every_code_has_a_name_of_its_own(void **state)
{
    const int codes[] = {EXL_ECLOSED, EXL_EPROTOCOL, EXL_EILLEGAL, EXL_EFORKED, EXL_ECYCLE, EXL_EINTERRUPTED};
    size_t count = sizeof codes / sizeof *codes;
    for (size_t i = 0; i < count; i++) {
        assert_string_not_equal(exl_strerror(codes[i]), "unknown error");
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(exl_strerror(codes[i]), exl_strerror(codes[j]));
    }
}

static void codes_of_the_kernel_have_its_text(void **state)
{
    assert_string_equal(exl_strerror(-ENOENT), strerror(ENOENT));
    assert_string_equal(exl_strerror(0), "unknown error");
    assert_string_equal(exl_strerror(5), "unknown error");
    assert_string_equal(exl_strerror(-999999), "unknown error");
}

static void set_formats_and_returns_the_code(void **state)
{
    exl_error_t err = {""};
    assert_int_equal(exl_error_set(&err, -ENOENT, "no %s in %d", "file", 7), -ENOENT);
    assert_string_equal(err.text, "no file in 7");
    assert_int_equal(exl_error_set(NULL, EXL_ECLOSED, "nobody reads this"), EXL_ECLOSED);
}

static void set_cuts_a_long_text(void **state)
{
    char text[1000];
    exl_error_t err = {""};
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    (void)exl_error_set(&err, -1, "%s", text);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
}

static char logged[600];

static void keep(const char *text)
{
    (void)strncpy(logged, text, sizeof logged - 1);
}

static void the_log_speaks_to_its_hook_only(void **state)
{
    logged[0] = '\0';
    exl_log("nobody hears %s", "this");
    assert_string_equal(logged, "");
    exl_log_set_hook(keep);
    exl_log("number %d", 3);
    exl_log_set_hook(NULL);
    assert_string_equal(logged, "number 3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXL_TEST(every_code_has_a_name_of_its_own), EXL_TEST(codes_of_the_kernel_have_its_text),
        EXL_TEST(set_formats_and_returns_the_code), EXL_TEST(set_cuts_a_long_text),
        EXL_TEST(the_log_speaks_to_its_hook_only),
    };
    return EXL_RUN(tests);
}
