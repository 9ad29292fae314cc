/* support.h: what every C test needs: a time limit, and a count of what it left open. */
#ifndef EXL_TEST_SUPPORT_H
#define EXL_TEST_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>

#include <cmocka.h>

#include "base/clock.h"
#include "task/memory_file.h"
#include "task/payload.h"

/* A test ends within EXL_TEST_LIMIT_S, and leaves no descriptor, no memory file and no child behind. */
#define EXL_TEST(function) cmocka_unit_test_setup_teardown(function, exl_test_begin, exl_test_end)
/* EXL_TEST_FILTER=pattern runs those that match. */
#define EXL_RUN(tests)                                                                                                 \
    (cmocka_set_test_filter(getenv("EXL_TEST_FILTER")),                                                                \
     cmocka_run_group_tests_name(exl_test_name(__FILE__), tests, NULL, NULL))

enum { EXL_TEST_LIMIT_S = 90 };

int exl_test_begin(void **state);
int exl_test_end(void **state);
const char *exl_test_name(const char *file);

/* How much slower than usual this build runs. */
int exl_test_time_factor(void);

/* A deadline for what should happen at once. */
int64_t exl_test_soon_ns(void);

/* Until no child is left; what does not end runs into the test's time limit. */
void exl_test_reap_children(void);

/* False once the process is gone or a zombie. */
bool exl_test_process_lives(pid_t pid);

/* Until it is gone or a zombie, or soon has passed. */
bool exl_test_process_ends(pid_t pid);

/* Reads exactly `size` bytes, or fails the test. */
void exl_test_read(int fd, void *bytes, size_t size);
void exl_test_write(int fd, const void *bytes, size_t size);

/* A payload of one body and no buffers. Large text must stay valid until it is sealed. */
exl_payload_t *exl_test_payload(const char *text);

/* Compares the body of a payload, which is mapped for it if need be. */
void exl_test_assert_body(exl_payload_t *payload, const char *text);

#endif
