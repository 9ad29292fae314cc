/* cpus.h: how many cores this process may use, which is not how many the machine has. */
#ifndef EXL_SCHED_CPUS_H
#define EXL_SCHED_CPUS_H

/* What PYTHON_CPU_COUNT says, as for Python itself. Else the least of: the affinity mask, the cgroup's CPU quota (v1 and v2,
 * this group and its parents, rounded up), and, inside a Slurm step, SLURM_CPUS_ON_NODE. Never less than 1. Reads /proc and
 * /sys/fs/cgroup. */
int exl_cpus_usable(void);

/* The parsers behind it. Each returns the number of cores, or 0 for "no limit here". */
int exl_cpus_from_cgroup_v2(const char *cpu_max_text);
int exl_cpus_from_cgroup_v1(const char *quota_us_text, const char *period_us_text);
int exl_cpus_from_variable(const char *text); /* may be NULL */

#endif
