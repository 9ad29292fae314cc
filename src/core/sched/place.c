/* place.c: placement on persistent workers. */
#include "sched/place.h"

ptrdiff_t exl_place_least_loaded(const uint32_t *loads, size_t count, uint32_t depth)
{
    ptrdiff_t best = -1;
    for (size_t i = 0; i < count; i++)
        if (loads[i] < depth && (best < 0 || loads[i] < loads[best]))
            best = (ptrdiff_t)i;
    return best;
}

ptrdiff_t exl_place_most_ahead(const uint32_t *ahead, size_t count)
{
    ptrdiff_t best = -1;
    for (size_t i = 0; i < count; i++)
        if (ahead[i] > 0 && (best < 0 || ahead[i] > ahead[best]))
            best = (ptrdiff_t)i;
    return best;
}
