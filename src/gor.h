#include "manual.h"
#ifndef GOR_H_INCLUDED
#define GOR_H_INCLUDED

#if defined(GOR_IMPLEMENTATION) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1
#endif
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "api/base.h"
#include "api/go.h"
#include "api/chan.h"
#include "api/sync.h"
#include "api/ctx.h"
#include "api/time.h"
#include "api/io.h"
#include "api/debug.h"
#include "api/fast.h"
#include "api/short.h"

#endif /* GOR_H_INCLUDED */

/* ==== end of the public API ================================================================== */

#include "map.h"

#if defined(GOR_IMPLEMENTATION) && !defined(GOR__IMPLEMENTED)
#define GOR__IMPLEMENTED

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <elf.h>
#include <linux/futex.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#if defined(GOR__KQUEUE) && GOR__KQUEUE
#include <sys/event.h>
#else
#include <sys/epoll.h>
#include <sys/eventfd.h>
#endif

#include "base/config.h"
#include "base/atomics.h"
#include "base/random.h"
#include "base/sanitize.h"
#include "arch/arch.h"
#include "arch/x86_64.h"
#include "arch/aarch64.h"
#include "os/linux.h"
#include "os/altstack.h"
#include "os/epoll.h"
#include "os/kqueue.h"
#include "base/clock.h"
#include "base/spin.h"
#include "mem/alloc.h"
#include "mem/stack.h"
#include "sched/core.h"
#include "sched/due.h"
#include "sched/date.h"
#include "sched/window.h"
#include "sched/owned.h"
#include "sched/timer.h"
#include "sched/lone.h"
#include "sched/idle.h"
#include "sched/runq.h"
#include "sched/ready.h"
#include "sched/pack.h"
#include "sched/switch.h"
#include "sched/spawn.h"
#include "sched/taskq.h"
#include "sched/sched.h"
#include "sched/start.h"
#include "sched/turn.h"
#include "sched/machine.h"
#include "wait/wait.h"
#include "sched/poll.h"
#include "debug/report.h"
#include "run/life.h"
#include "sync/chan.h"
#include "sync/fork.h"
#include "sync/select.h"
#include "sync/locks.h"
#include "sync/counters.h"
#include "sync/time.h"
#include "sync/ctx.h"
#include "debug/faults.h"
#include "run/block.h"
#include "run/tidy.h"
#include "io/fd.h"
#include "io/net.h"
#include "io/file.h"
#include "io/dial.h"
#include "io/signal.h"
#include "run/preempt.h"
#include "run/retake.h"
#include "debug/trace.h"
#include "run/procs.h"
#include "run/jam.h"
#include "run/sysmon.h"
#include "run/run.h"
#include "debug/look.h"
#include "debug/names.h"

#endif /* GOR_IMPLEMENTATION */
