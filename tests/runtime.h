/* What the harness asks of the runtime's inside. */
#ifndef GORTEST_RUNTIME_H
#define GORTEST_RUNTIME_H

#include <stddef.h>

int    test_n_parked(void);            /* goroutines that are parked, as far as can be seen   */
int    test_check_world(void);         /* invariants that do not hold                         */
size_t test_stack_bytes(void);         /* memory in stacks, every one counted                 */

#endif
