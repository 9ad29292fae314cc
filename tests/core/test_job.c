/* test_job.c: who may run a job: one of all who ask, whoever is killed. */
#include "batch/job.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

extern char **environ;

static char folder[64];

static int begin(void **state)
{
    (void)snprintf(folder, sizeof folder, "/tmp/exl-job-XXXXXX");
    if (!mkdtemp(folder) || rmdir(folder) < 0)
        return -1;
    return exl_test_begin(state);
}

static int end(void **state)
{
    char command[96];
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command) == 0 ? exl_test_end(state) : -1;
}

static void write_claim(unsigned generation, const char *text)
{
    char path[96];
    (void)snprintf(path, sizeof path, "%s/claim.%u", folder, generation);
    (void)mkdir(folder, 0777);
    assert_int_equal(symlink(text, path), 0);
}

/* A process that claims, says whether it could, and lives until it is killed. */
static pid_t claimer(int *ret_taken)
{
    int said[2], taken;
    assert_int_equal(pipe2(said, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        exl_claim_t claim;
        taken = exl_claim_take(folder, &claim);
        (void)!write(said[1], &taken, sizeof taken);
        for (;;)
            (void)pause();
    }
    exl_test_read(said[0], ret_taken, sizeof *ret_taken);
    (void)close(said[0]);
    (void)close(said[1]);
    return pid;
}

static void end_process(pid_t pid)
{
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void one_takes_the_claim_and_tells_who_it_is(void **state)
{
    exl_claim_t claim, read;
    assert_int_equal(exl_claim_read(folder, &read), -ENOENT);
    assert_int_equal(exl_claim_take(folder, &claim), 0);
    assert_int_equal(claim.generation, 1);
    assert_int_equal(claim.pid, getpid());
    assert_int_equal(exl_claim_read(folder, &read), 0);
    assert_memory_equal(&read, &claim, sizeof read);
    assert_int_equal(exl_claim_holder(&read), EXL_HOLDER_LIVES);
    assert_int_equal(exl_claim_take(folder, &read), -EBUSY);
    exl_claim_release(folder, claim.generation);
    assert_int_equal(access(folder, F_OK), -1);
}

static void a_dead_holder_is_superseded(void **state)
{
    int taken;
    exl_claim_t claim;
    pid_t pid = claimer(&taken);
    assert_int_equal(taken, 0);
    assert_int_equal(exl_claim_take(folder, &claim), -EBUSY);
    assert_int_equal(claim.pid, pid);
    end_process(pid);
    assert_int_equal(exl_claim_holder(&claim), EXL_HOLDER_GONE);
    assert_int_equal(exl_claim_take(folder, &claim), 0);
    assert_int_equal(claim.generation, 2);
    exl_claim_release(folder, claim.generation);
    assert_int_equal(access(folder, F_OK), -1);
}

static void a_zombie_holds_nothing(void **state)
{
    int taken;
    exl_claim_t claim;
    pid_t pid = claimer(&taken);
    assert_int_equal(kill(pid, SIGKILL), 0);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    assert_int_equal(exl_claim_take(folder, &claim), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void a_reused_pid_is_told_apart(void **state)
{
    exl_claim_t claim;
    assert_int_equal(exl_claim_of(0, &claim), 0);
    claim.start--;
    assert_int_equal(exl_claim_holder(&claim), EXL_HOLDER_GONE);
}

static void other_machines_cannot_be_judged(void **state)
{
    exl_claim_t here, claim;
    assert_int_equal(exl_claim_of(0, &here), 0);
    claim = here;
    claim.namespace += 1;
    assert_int_equal(exl_claim_holder(&claim), EXL_HOLDER_ELSEWHERE);
    claim = here;
    claim.boot[0] ^= 1;
    assert_int_equal(exl_claim_holder(&claim), EXL_HOLDER_GONE); /* this machine, before it was started anew */
    claim.host[0] ^= 1;
    assert_int_equal(exl_claim_holder(&claim), EXL_HOLDER_ELSEWHERE);
}

static void what_is_no_claim_of_ours_does_not_block(void **state)
{
    exl_claim_t claim;
    write_claim(1, "nonsense");
    assert_int_equal(exl_claim_read(folder, &claim), 0);
    assert_int_equal(exl_claim_holder(&claim), EXL_HOLDER_GONE);
    assert_int_equal(claim.pid, 0);
    assert_int_equal(exl_claim_take(folder, &claim), 0);
    assert_int_equal(claim.generation, 2);
    exl_claim_release(folder, 2);
}

/* All find the claim of a dead process; one of them gets the next. */
static void of_many_at_once_one_wins(void **state)
{
    enum { MANY = 16, ROUNDS = 10 };
    for (int round = 0; round < ROUNDS; round++) {
        int start[2], winners = 0, status;
        assert_int_equal(pipe2(start, O_CLOEXEC), 0);
        int door[2];
        assert_int_equal(pipe2(door, O_CLOEXEC), 0);
        for (int i = 0; i < MANY; i++)
            if (fork() == 0) {
                exl_claim_t claim;
                char byte;
                (void)close(start[1]);
                (void)close(door[1]);
                (void)!read(start[0], &byte, 1);
                int rc = exl_claim_take(folder, &claim);
                if (rc == 0) /* the winner lives until all have tried */
                    (void)!read(door[0], &byte, 1);
                _exit(rc == 0 ? 1 : rc == -EBUSY ? 0 : 2);
            }
        (void)close(start[1]);
        (void)close(start[0]);
        for (int i = 0; i < MANY - 1; i++) {
            assert_true(waitpid(-1, &status, 0) > 0);
            assert_int_equal(WEXITSTATUS(status), 0);
        }
        (void)close(door[1]);
        (void)close(door[0]);
        assert_true(waitpid(-1, &status, 0) > 0);
        winners += WEXITSTATUS(status);
        assert_int_equal(winners, 1);
        exl_claim_t claim;
        assert_int_equal(exl_claim_read(folder, &claim), 0);
        assert_int_equal(claim.generation, round + 1);
    }
}

static void release_leaves_what_others_have_put_there(void **state)
{
    exl_claim_t claim;
    char path[96];
    assert_int_equal(exl_claim_take(folder, &claim), 0);
    (void)snprintf(path, sizeof path, "%s/data", folder);
    assert_int_equal(close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
    exl_claim_release(folder, claim.generation);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(exl_claim_read(folder, &claim), -ENOENT);
}

static void refused_folders_are_an_error(void **state)
{
    exl_claim_t claim;
    assert_int_equal(exl_claim_take("/proc/none/here", &claim), -ENOENT);
}

static void its_process_has_a_session_and_logs(void **state)
{
    char program[] = "sh", option[] = "-c", script[] = "echo $$; ps -o sid= -p $$ || echo $$; echo oops >&2; exit 3";
    char *argv[] = {program, option, script, NULL}, path[96], text[64] = "";
    exl_job_t job = {.argv = argv, .envp = environ, .folder = folder};
    pid_t pid;
    int status;
    assert_int_equal(exl_job_start(&job, &pid, NULL), 0);
    assert_int_equal(getsid(pid), pid);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), 3);
    (void)snprintf(path, sizeof path, "%s/err.log", folder);
    FILE *log = fopen(path, "re");
    assert_non_null(log);
    assert_non_null(fgets(text, sizeof text, log));
    (void)fclose(log);
    assert_string_equal(text, "oops\n");
    (void)snprintf(path, sizeof path, "%s/out.log", folder);
    log = fopen(path, "re");
    assert_non_null(log);
    assert_non_null(fgets(text, sizeof text, log));
    (void)fclose(log);
    assert_int_equal(strtol(text, NULL, 10), pid);
}

static void says_why_a_job_cannot_start(void **state)
{
    char program[] = "/no/such/program";
    char *argv[] = {program, NULL};
    exl_error_t err = {""};
    pid_t pid;
    exl_job_t job = {.argv = argv, .envp = environ, .folder = folder};
    assert_int_equal(exl_job_start(&job, &pid, &err), -ENOENT);
    assert_non_null(strstr(err.text, "/no/such/program"));
    job.out = "/no/such/folder/file";
    assert_int_equal(exl_job_start(&job, &pid, &err), -ENOENT);
    assert_non_null(strstr(err.text, job.out));
    job.folder = "/proc/none";
    assert_int_equal(exl_job_start(&job, &pid, &err), -ENOENT);
    assert_non_null(strstr(err.text, job.folder));
}

#define JOB_TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        JOB_TEST(one_takes_the_claim_and_tells_who_it_is),
        JOB_TEST(a_dead_holder_is_superseded),
        JOB_TEST(a_zombie_holds_nothing),
        JOB_TEST(a_reused_pid_is_told_apart),
        JOB_TEST(other_machines_cannot_be_judged),
        JOB_TEST(what_is_no_claim_of_ours_does_not_block),
        JOB_TEST(of_many_at_once_one_wins),
        JOB_TEST(release_leaves_what_others_have_put_there),
        JOB_TEST(refused_folders_are_an_error),
        JOB_TEST(its_process_has_a_session_and_logs),
        JOB_TEST(says_why_a_job_cannot_start),
    };
    return EXL_RUN(tests);
}
