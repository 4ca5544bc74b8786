/* The runtime as its users' other files see it, and what the harness asks of its inside. */
#define GOR_IMPLEMENTATION
#include "gor.h"
#include "runtime.h"

int test_n_parked(void) { return gor__n_parked(); }

int test_check_world(void) { return gor__check_world(); }

/* gor_stats goes by a sample, whose error is a few hundred pages. */
size_t test_stack_bytes(void)
{
    size_t guard = gor__stack_guard_size(), bytes = 0, end;
    for (gor__chunk *c = gor__stack_chunks(); c != NULL; c = c->next) {
        end = gor__chunk_cut(c);
        for (size_t at = 0; at < end; at += c->stride)
            bytes += gor__os_resident(c->base + at + guard, c->stride - guard);
    }
    return bytes;
}
