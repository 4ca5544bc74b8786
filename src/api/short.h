/* ==== [short] short names, on request ======================================================= */
#ifdef GOR_SHORT_NAMES
#define go(fn, arg)   gor_go(fn, arg)
#define GO(...)       GOR_GO(__VA_ARGS__)
#define yield()       gor_yield()
#define defer(fn, arg) gor_defer(fn, arg)
#define chan_new      gor_chan_new
#define chan_send     gor_send
#define chan_recv     gor_recv
#define chan_close    gor_chan_close
#define chan_select   gor_select
typedef gor_chan    chan_t;
typedef gor_wg      wg_t;
typedef gor_mutex   gomutex_t;
typedef gor_ctx     ctx_t;
#endif
