/* ==== [sanitize] what the sanitizers must be told ===============================================
 * What        A goroutine is a fiber for ThreadSanitizer, and a stack for AddressSanitizer. Each
 *             hook is an empty function in a build without that sanitizer.
 * Why         Fibers are switched without synchronisation (flag 1): two goroutines on one thread
 *             are ordered by what they do, not by sharing it, so a race shows at any number of
 *             threads. Memory that the runtime reuses for another goroutine is handed over
 *             explicitly.
 *             What is written while nobody can look, at start, at stop and in a new block, is
 *             written between quiet_begin and quiet_end: no order is made up for it.
 */
#if GOR__TSAN
#ifdef __cplusplus
extern "C" {
#endif
void *__tsan_create_fiber(unsigned flags);
void *__tsan_get_current_fiber(void);
void __tsan_destroy_fiber(void *fiber);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
void __tsan_acquire(void *p);
void __tsan_release(void *p);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
#ifdef __cplusplus
}
#endif
#define GOR__STACK_QUARANTINE 24       /* stacks that rest before the next goroutine gets one */
GOR__INLINE void *gor__san_fiber(void) { return __tsan_create_fiber(0); }
GOR__INLINE void *gor__san_this_fiber(void) { return __tsan_get_current_fiber(); }
GOR__INLINE void gor__san_fiber_free(void *fiber) { __tsan_destroy_fiber(fiber); }
GOR__INLINE void gor__san_hand_over(void *p) { __tsan_release(p); }
GOR__INLINE void gor__san_take_over(void *p) { __tsan_acquire(p); }
GOR__INLINE void gor__san_quiet_begin(void) { AnnotateIgnoreWritesBegin(__FILE__, __LINE__); }
GOR__INLINE void gor__san_quiet_end(void) { AnnotateIgnoreWritesEnd(__FILE__, __LINE__); }
#define GOR__SAN_SWITCH_FIBER(fiber) __tsan_switch_to_fiber((fiber), 1)
#else
#define GOR__STACK_QUARANTINE 0
GOR__INLINE void *gor__san_fiber(void) { return NULL; }
GOR__INLINE void *gor__san_this_fiber(void) { return NULL; }
GOR__INLINE void gor__san_fiber_free(void *fiber) { (void)fiber; }
GOR__INLINE void gor__san_hand_over(void *p) { (void)p; }
GOR__INLINE void gor__san_take_over(void *p) { (void)p; }
GOR__INLINE void gor__san_quiet_begin(void) {}
GOR__INLINE void gor__san_quiet_end(void) {}
#define GOR__SAN_SWITCH_FIBER(fiber) (void)(fiber)
#endif

#if GOR__ASAN
#ifdef __cplusplus
extern "C" {
#endif
void __sanitizer_start_switch_fiber(void **fake, const void *bottom, size_t size);
void __sanitizer_finish_switch_fiber(void *fake, const void **old_bottom, size_t *old_size);
void __asan_unpoison_memory_region(const volatile void *p, size_t size);
void __lsan_register_root_region(const void *p, size_t size);
void __lsan_unregister_root_region(const void *p, size_t size);
#ifdef __cplusplus
}
#endif
GOR__INLINE void gor__san_leave_stack(void **fake, const void *bottom, size_t size)
{
    __sanitizer_start_switch_fiber(fake, bottom, size);
}
GOR__INLINE void gor__san_enter_stack(void *fake, const void **old, size_t *old_size)
{
    __sanitizer_finish_switch_fiber(fake, old, old_size);
}
GOR__INLINE void gor__san_clean(void *p, size_t size) { __asan_unpoison_memory_region(p, size); }
GOR__INLINE void gor__san_root(void *p, size_t size) { __lsan_register_root_region(p, size); }
GOR__INLINE void gor__san_unroot(void *p, size_t size) { __lsan_unregister_root_region(p, size); }
#else
GOR__INLINE void gor__san_leave_stack(void **fake, const void *bottom, size_t size)
{
    (void)fake, (void)bottom, (void)size;
}
GOR__INLINE void gor__san_enter_stack(void *fake, const void **old, size_t *old_size)
{
    (void)fake, (void)old, (void)old_size;
}
GOR__INLINE void gor__san_clean(void *p, size_t size) { (void)p, (void)size; }
GOR__INLINE void gor__san_root(void *p, size_t size) { (void)p, (void)size; }
GOR__INLINE void gor__san_unroot(void *p, size_t size) { (void)p, (void)size; }
#endif
