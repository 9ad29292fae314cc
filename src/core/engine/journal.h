/* journal.h: a timeline log: events go into a ring in memory, and a thread of its own writes them to a file.
 *
 * A file is shared by all executors of a process that name it, and by any number of processes: it is only ever appended
 * to, whole lines at a time, in one write() each. So lines do not mix, on a local file system; NFS does not promise that.
 *
 * Telling an event costs a copy of some hundred bytes. Nobody waits for the disk: events for which there is no
 * room in the ring, or that could not be written, are dropped and counted, and the log says how many. The thread writes
 * 50 ms after the first event of a batch at the latest, and sleeps while there are none. */
#ifndef EXL_ENGINE_JOURNAL_H
#define EXL_ENGINE_JOURNAL_H

#include "base/error.h"
#include "engine/event.h"

typedef struct exl_journal exl_journal_t;

/* Opens or creates the file, which may block: not under the engine's lock. One reference is the caller's. */
int exl_journal_open(const char *path, exl_journal_t **ret_journal, exl_error_t *err);

/* The last one closes the file, once all is written. Neither blocks. NULL is fine. */
exl_journal_t *exl_journal_ref(exl_journal_t *journal);
void exl_journal_unref(exl_journal_t *journal);

/* One thread at a time, which the engine's lock sees to. `text` and `after` are copied. */
void exl_journal_tell(exl_journal_t *journal, const exl_event_t *event, const char *text, const uint64_t *after);

/* Without the lock: waits until all that was told before is written, or dropped. 0, -ETIMEDOUT, EXL_EINTERRUPTED. */
int exl_journal_flush(exl_journal_t *journal, int64_t deadline_ns);

/* The same for all journals; and those without a reference have closed their files. */
int exl_journals_settle(int64_t deadline_ns);

/* In a child made by fork(): its parent's journals are the parent's. */
void exl_journals_abandon(void);

#endif
