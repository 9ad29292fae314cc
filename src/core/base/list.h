/* list.h: an intrusive, circular, doubly linked list. The head is a link of its own; an unlinked link points at itself. */
#ifndef EXL_BASE_LIST_H
#define EXL_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct exl_list {
    struct exl_list *next, *prev;
} exl_list_t;

#define EXL_CONTAINER(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

static inline void exl_list_init(exl_list_t *list)
{
    list->next = list->prev = list;
}

static inline bool exl_list_empty(const exl_list_t *list)
{
    return list->next == list;
}

static inline void exl_list_insert_before(exl_list_t *position, exl_list_t *link)
{
    link->prev = position->prev;
    link->next = position;
    position->prev->next = link;
    position->prev = link;
}

static inline void exl_list_push_back(exl_list_t *list, exl_list_t *link)
{
    exl_list_insert_before(list, link);
}

static inline void exl_list_push_front(exl_list_t *list, exl_list_t *link)
{
    exl_list_insert_before(list->next, link);
}

/* Idempotent: removing an unlinked link does nothing. */
static inline void exl_list_remove(exl_list_t *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    exl_list_init(link);
}

static inline exl_list_t *exl_list_pop_front(exl_list_t *list)
{
    exl_list_t *link = list->next;
    if (link == list)
        return NULL;
    /* The analyzer does not know that what was first before, and may be freed, is not in the list any more. */
    exl_list_remove(link); /* NOLINT(clang-analyzer-unix.Malloc) */
    return link;
}

#define EXL_LIST_FOREACH(list, link) for (exl_list_t *link = (list)->next; link != (list); link = link->next)

/* Allows removal of `link` itself in the body. */
#define EXL_LIST_FOREACH_SAFE(list, link)                                                                              \
    for (exl_list_t *link = (list)->next, *link##_next = link->next; link != (list);                                   \
         link = link##_next, link##_next = link->next)

#endif
