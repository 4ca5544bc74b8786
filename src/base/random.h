/* ==== [random] small fast random numbers ======================================================
 * Source      xorshift64* (Vigna, 2016); Lemire's multiply-shift for a range (2019).
 */
GOR__INLINE uint64_t gor__random(gor__au64 *state)
{
    uint64_t x = gor__au64_load_rlx(state);
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    gor__au64_store_rlx(state, x);
    return x * 0x2545F4914F6CDD1DULL;
}

/* 0 .. n-1, n > 0; the bias of at most n / 2^32 is below what a test of fairness can see. */
GOR__INLINE uint32_t gor__random_below(gor__au64 *state, uint32_t n)
{
    return (uint32_t)(((gor__random(state) >> 32) * n) >> 32);
}
