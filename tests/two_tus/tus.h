/* What the three files of this test know of each other. */
#ifndef TUS_H
#define TUS_H

#include "gor.h"

#ifdef __cplusplus
extern "C" {
#endif
/* impl.c: print one line of TAP. */
void tap(bool passed, const char *name);
/* user.c: send 1..n into c and close it; the value of gor_go. */
int count_into(gor_chan *c, int n);
/* user.cc: the tests of C++. */
void test_cxx(void);
#ifdef __cplusplus
}
#endif
#endif /* TUS_H */
