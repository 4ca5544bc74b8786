/* ==== [retake] a goroutine keeps its thread and loses its processor ==============================
 * What        A goroutine that is past its quantum and makes no gor call, because it computes, or
 *             sits in a system call, a page fault, a lock of somebody else's: sysmon takes its P
 *             and gives it to another M. Nothing is switched, so no lock, register or thread-local
 *             is caught halfway, and no system call is interrupted. At its next gor call the
 *             goroutine waits for a P again, as after gor_block.
 * Invariants  R1 A P is taken only from an M that is in the user's code: sysmon sets GOR__RETAKE;
 *                membarrier; reads m->in_call. The M stores in_call; reads the attention word. So
 *                sysmon sees the call, or the call sees RETAKE.
 *             R2 While RETAKE is set the M waits in its call, which has touched nothing yet.
 *                sysmon answers within a few instructions: RETAKEN, or all is as before.
 *             R3 An elided lock is held in a call only. So locks become real ones here, before a
 *                second M runs ([spin] I2).
 * Without     membarrier every M has GOR__FENCE set, and so fences at the begin of each call
 *             itself. A signal, which other runtimes take for this, would make the user's sleep or
 *             poll return early.
 * Source      Go's retake of Ps in system calls, here for all code; the asymmetric fence of Dice,
 *             Huang and Yang, "Asymmetric Dekker Synchronization" (2001).
 */

/* Is there anything to do with p but what m does? */
static bool gor__somebody_waits(gor__p *p, gor__m *m)
{
    return gor__au32_load_rlx(&p->retire) || gor__au32_load_sc(&m->preempted.n) != 0 ||
           gor__au32_load_rlx(&gor__rt.poll_due) || gor__work_anywhere() ||
           gor__timers_first() <= gor__os_now();
}

/* Said once a run: what would run waits for a thread. */
static void gor__say_no_thread(void)
{
    static uint64_t said;
    char text[160];
    int n;
    if (said == gor__rt.epoch)
        return;
    said = gor__rt.epoch;
    n = snprintf(text, sizeof text, "gor: max_threads (%d) reached while goroutines wait for a "
                 "thread: those who have one block or compute\n", gor__rt.opt.max_threads);
    if (write(2, text, (size_t)n) < 0)
        return;
}

/* Would an M be had to run another P? */
static bool gor__thread_to_be_had(void)
{
    bool yes;
    gor__lock_sched();
    yes = gor__au32_load_rlx(&gor__rt.n_idle_m) > 0 || gor__rt.n_m < gor__rt.opt.max_threads;
    gor__unlock_sched();
    if (!yes)
        gor__say_no_thread();
    return yes;
}

/* Has m p, and is it in the user's code? */
static bool gor__p_of_user(gor__p *p, gor__m *m)
{
    uint32_t in_call;
    return gor__p_holder(p, &in_call) == m && !in_call;
}

/* p and m part, if m is in the user's code and still has it. */
static bool gor__take_p(gor__p *p, gor__m *m)
{
    bool ours;
    gor__call_on(m, GOR__RETAKE);
    gor__fence_all();
    ours = gor__p_of_user(p, m);
    if (ours) {
        gor__share();                              /* R3 */
        gor__timers_date(&p->timers);              /* [date] A3 */
        gor__au32_add(&gor__rt.n_blocked, 1);
        gor__aptr_store_rlx(&m->p, NULL);
        gor__aptr_store_rlx(&p->m, &gor__in_transit);
        gor__preempted_spill(m);
        gor__call_on(m, GOR__RETAKEN);
    }
    gor__au32_and(&m->attention, ~(uint32_t)GOR__RETAKE);
    return ours;
}

static void gor__retake(gor__p *p, gor__m *m)
{
    if (gor__p_of_user(p, m) && gor__thread_to_be_had() && gor__take_p(p, m)) {
        gor__au64_bump(&gor__rt.retaken);
        gor__p_run(p, false);
    }
}
