//! The benchmark cases of bench/bench.c that tokio has an answer to: same names, same work. Command
//! line, output line and exit status are those of bench/harness.h.
//!
//! With PROCS 1 the runtime is the current-thread one, which is tokio's quicker one there. tokio
//! has no unbuffered channel: where bench.c uses one, this uses a buffer of 1. Its channels have
//! one receiver, so buffered8x8 is missing; timer_reset too, for a timer cannot be stopped alone.

use std::fmt::Display;
use std::future::{poll_fn, Future};
use std::pin::{pin, Pin};
use std::process::exit;
use std::sync::atomic::{AtomicU64, AtomicU8, Ordering::*};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, Mutex, Notify, RwLock, Semaphore};
use tokio::task::{yield_now, JoinHandle};
use tokio::time::{sleep, Sleep};
use tokio_util::sync::CancellationToken;

// -- the harness ------------------------------------------------------------------------------

/// What a case comes to; check must equal want.
struct Outcome {
    elapsed: Duration,
    ops: u64,
    check: u64,
    want: u64,
    extra: String,
}

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

fn outcome(elapsed: Duration, ops: u64, check: u64, want: u64) -> Outcome {
    Outcome { elapsed, ops, check, want, extra: String::new() }
}

fn fail(what: &str, why: impl Display) -> ! {
    eprintln!("bench: {what}: {why}");
    exit(1)
}

/// A value that lives as long as the program: tasks then need no reference count for it.
fn forever<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn share(n: u64, k: u64) -> u64 {
    (n / k).max(1)
}

fn turns(n: u64, total: u64, least: u64, most: u64) -> u64 {
    (total / n).clamp(least, most)
}

fn sum_below(n: u64) -> u64 {
    n * n.saturating_sub(1) / 2
}

/// A case of a fixed size that is short is done again until its clock has run for a while.
const ENOUGH: Duration = Duration::from_millis(100);

/// A wait group: counted down by tasks, waited for by one.
struct Countdown {
    left: AtomicU64,
    zero: Notify,
}

impl Countdown {
    fn new(n: u64) -> &'static Countdown {
        forever(Countdown { left: AtomicU64::new(n), zero: Notify::new() })
    }
    fn set(&self, n: u64) {
        self.left.store(n, Release);
    }
    fn done(&self) {
        if self.left.fetch_sub(1, AcqRel) == 1 {
            self.zero.notify_one();
        }
    }
    async fn wait(&self) {
        while self.left.load(Acquire) != 0 {
            self.zero.notified().await;
        }
    }
}

async fn join_all(handles: Vec<JoinHandle<u64>>) -> u64 {
    let mut sum = 0;
    for h in handles {
        sum += h.await.unwrap();
    }
    sum
}

/// The whole of a case that is nothing but k workers, each of which does its work n times.
async fn time_workers<F>(n: u64, k: u64, work: impl Fn(u64) -> F) -> Outcome
where
    F: Future<Output = u64> + Send + 'static,
{
    let each = share(n, k);
    let begin = Instant::now();
    let sum = join_all((0..k).map(|_| tokio::spawn(work(each))).collect()).await;
    outcome(begin.elapsed(), each * k, sum, each * k)
}

// -- switching --------------------------------------------------------------------------------

async fn yield_worker(n: u64) -> u64 {
    let mut done = 0;
    for _ in 0..n {
        yield_now().await;
        done += 1;
    }
    done
}

async fn yield2(n: u64) -> Outcome {
    time_workers(n, 2, yield_worker).await
}

async fn yield1000(n: u64) -> Outcome {
    time_workers(n, 1000, yield_worker).await
}

// -- channels ---------------------------------------------------------------------------------

async fn pingpong(n: u64) -> Outcome {
    let (ping, mut ping_end) = mpsc::channel(1);
    let (pong_end, mut pong) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(v) = ping_end.recv().await {
            pong_end.send(v).await.unwrap();
        }
    });
    let mut sum = 0;
    let begin = Instant::now();
    for i in 0..n {
        ping.send(i).await.unwrap();
        sum += pong.recv().await.unwrap();
    }
    outcome(begin.elapsed(), n, sum, sum_below(n))
}

async fn send_all(c: mpsc::Sender<u64>, n: u64) -> u64 {
    for i in 0..n {
        c.send(i).await.unwrap();
    }
    n
}

async fn recv_all(mut c: mpsc::Receiver<u64>) -> u64 {
    let mut sum = 0;
    while let Some(v) = c.recv().await {
        sum += v;
    }
    sum
}

async fn stream(n: u64, capacity: usize) -> Outcome {
    let (tx, rx) = mpsc::channel(capacity);
    let begin = Instant::now();
    let receiver = tokio::spawn(recv_all(rx));
    tokio::spawn(send_all(tx, n));
    let sum = receiver.await.unwrap();
    outcome(begin.elapsed(), n, sum, sum_below(n))
}

async fn oneway(n: u64) -> Outcome {
    stream(n, 1).await
}

async fn buffered(n: u64) -> Outcome {
    stream(n, 128).await
}

async fn select4(n: u64) -> Outcome {
    let each = share(n, 4);
    let (t0, mut r0) = mpsc::channel(1);
    let (t1, mut r1) = mpsc::channel(1);
    let (t2, mut r2) = mpsc::channel(1);
    let (t3, mut r3) = mpsc::channel(1);
    let mut sum = 0;
    let begin = Instant::now();
    for t in [t0, t1, t2, t3] {
        tokio::spawn(send_all(t, each));
    }
    for _ in 0..each * 4 {
        sum += tokio::select! {
            Some(v) = r0.recv() => v,
            Some(v) = r1.recv() => v,
            Some(v) = r2.recv() => v,
            Some(v) = r3.recv() => v,
            else => fail("select4", "all closed"),
        };
    }
    outcome(begin.elapsed(), each * 4, sum, 4 * sum_below(each))
}

async fn tryrecv_empty(n: u64) -> Outcome {
    let (_tx, mut rx) = mpsc::channel::<u64>(1);
    let mut empty = 0;
    let begin = Instant::now();
    for _ in 0..n {
        empty += rx.try_recv().is_err() as u64;
    }
    outcome(begin.elapsed(), n, empty, n)
}

/// Member of a ring: takes the hops left from its left neighbour, hands one less to the right.
async fn ring_worker(
    mut from: mpsc::Receiver<u64>,
    to: mpsc::Sender<u64>,
    done: mpsc::Sender<u64>,
) {
    while let Some(left) = from.recv().await {
        let to = if left > 1 { &to } else { &done };
        if to.send(left - 1).await.is_err() {
            return;
        }
    }
}

/// Once around before the clock starts: then all have started, and wait.
async fn time_ring(members: u64, hops: u64) -> Outcome {
    let (done, mut end) = mpsc::channel(1);
    let (first, first_end) = mpsc::channel(1);
    let mut from = first_end;
    for _ in 1..members {
        let (to, next) = mpsc::channel(1);
        tokio::spawn(ring_worker(from, to, done.clone()));
        from = next;
    }
    tokio::spawn(ring_worker(from, first.clone(), done));
    first.send(members).await.unwrap();
    end.recv().await.unwrap();
    let begin = Instant::now();
    first.send(hops).await.unwrap();
    let left = end.recv().await.unwrap();
    outcome(begin.elapsed(), hops, hops - left, hops)
}

async fn ring1000(n: u64) -> Outcome {
    time_ring(1000, n).await
}

// -- starting tasks ---------------------------------------------------------------------------

fn slots(n: u64) -> &'static [AtomicU8] {
    Box::leak((0..n).map(|_| AtomicU8::new(0)).collect())
}

fn sum_slots(slot: &[AtomicU8]) -> u64 {
    slot.iter().map(|s| s.load(Relaxed) as u64).sum()
}

async fn spawn_wait(n: u64) -> Outcome {
    let slot = slots(n);
    let all = Countdown::new(n);
    let begin = Instant::now();
    for s in slot {
        tokio::spawn(async move {
            s.store(1, Relaxed);
            all.done();
        });
    }
    all.wait().await;
    outcome(begin.elapsed(), n, sum_slots(slot), n)
}

async fn spawn_join(n: u64) -> Outcome {
    let mut sum = 0;
    let begin = Instant::now();
    for i in 0..n {
        sum += tokio::spawn(async move { i + 1 }).await.unwrap();
    }
    outcome(begin.elapsed(), n, sum, sum_below(n + 1))
}

async fn wg10000(n: u64) -> Outcome {
    const K: u64 = 10000;
    let rounds = share(n, K);
    let all = Countdown::new(0);
    let mut sum = 0;
    let begin = Instant::now();
    for _ in 0..rounds {
        all.set(K);
        for _ in 0..K {
            tokio::spawn(async move { all.done() });
        }
        all.wait().await;
        sum += K;
    }
    outcome(begin.elapsed(), rounds * K, sum, rounds * K)
}

fn skynet_node(out: mpsc::Sender<u64>, first: u64, size: u64) -> Boxed<()> {
    Box::pin(async move {
        let mut sum = first;
        if size > 1 {
            let (tx, mut rx) = mpsc::channel(1);
            sum = 0;
            for i in 0..10 {
                tokio::spawn(skynet_node(tx.clone(), first + i * (size / 10), size / 10));
            }
            for _ in 0..10 {
                sum += rx.recv().await.unwrap();
            }
        }
        out.send(sum).await.unwrap();
    })
}

async fn skynet(n: u64) -> Outcome {
    let (mut leaves, mut nodes) = (1, 1);
    while leaves * 10 <= n {
        leaves *= 10;
        nodes += leaves;
    }
    let (tx, mut rx) = mpsc::channel(1);
    let begin = Instant::now();
    tokio::spawn(skynet_node(tx, 0, leaves));
    let sum = rx.recv().await.unwrap();
    outcome(begin.elapsed(), nodes, sum, sum_below(leaves))
}

// -- fork-join --------------------------------------------------------------------------------

fn fib_node(n: u64) -> Boxed<u64> {
    Box::pin(async move {
        if n < 2 {
            return n;
        }
        let left = tokio::spawn(fib_node(n - 1));
        let right = fib_node(n - 2).await;
        left.await.unwrap() + right
    })
}

fn fib_value(n: u64) -> u64 {
    (0..n).fold((0, 1), |(low, high), _| (high, low + high)).0
}

async fn fib(n: u64) -> Outcome {
    let (mut sum, mut forks) = (0, 0);
    let begin = Instant::now();
    while begin.elapsed() < ENOUGH {
        sum = fib_node(n).await;
        forks += fib_value(n + 1) - 1;
    }
    outcome(begin.elapsed(), forks, sum, fib_value(n))
}

/// Bit sets over the columns of the next row: all, taken, and attacked along both diagonals.
#[derive(Clone, Copy)]
struct Board {
    all: u32,
    taken: u32,
    left: u32,
    right: u32,
}

impl Board {
    /// The boards that one more queen makes of this one.
    fn next(self) -> impl Iterator<Item = Board> {
        let mut rest = self.all & !(self.taken | self.left | self.right);
        std::iter::from_fn(move || {
            let queen = rest & rest.wrapping_neg();
            rest ^= queen;
            (queen != 0).then_some(Board {
                all: self.all,
                taken: self.taken | queen,
                left: (self.left | queen) << 1,
                right: (self.right | queen) >> 1,
            })
        })
    }
    fn count_forks(self) -> u64 {
        self.next().map(|b| 1 + b.count_forks()).sum()
    }
}

fn queens_node(b: Board) -> Boxed<u64> {
    Box::pin(async move {
        if b.taken == b.all {
            return 1;
        }
        join_all(b.next().map(|next| tokio::spawn(queens_node(next))).collect()).await
    })
}

const QUEENS: [u64; 17] = [
    1, 1, 0, 0, 2, 10, 4, 40, 92, 352, 724, 2680, 14200, 73712, 365596, 2279184, 14772512,
];

async fn nqueens(n: u64) -> Outcome {
    if !(1..=16).contains(&n) {
        fail("nqueens", "N is 1 to 16");
    }
    let root = Board { all: (1 << n) - 1, taken: 0, left: 0, right: 0 };
    let (mut found, mut forks, each) = (0, 0, root.count_forks());
    let begin = Instant::now();
    while begin.elapsed() < ENOUGH {
        found = queens_node(root).await;
        forks += each;
    }
    outcome(begin.elapsed(), forks, found, QUEENS[n as usize])
}

// -- locks ------------------------------------------------------------------------------------

async fn mutex_by(n: u64, k: u64) -> Outcome {
    let value = forever(Mutex::new(0));
    let mut out = time_workers(n, k, |each| async move {
        for _ in 0..each {
            *value.lock().await += 1;
        }
        each
    })
    .await;
    out.check = *value.lock().await;
    out
}

async fn mutex(n: u64) -> Outcome {
    mutex_by(n, 1).await
}

async fn mutex8(n: u64) -> Outcome {
    mutex_by(n, 8).await
}

async fn rwmutex(n: u64) -> Outcome {
    let value = forever(RwLock::new(1));
    time_workers(n, 8, |each| async move {
        let mut sum = 0;
        for _ in 0..each {
            sum += *value.read().await;
        }
        sum
    })
    .await
}

// -- time -------------------------------------------------------------------------------------

const HOUR: Duration = Duration::from_secs(3600);
const MS: Duration = Duration::from_millis(1);

/// A timer is set by the first look at it.
async fn set(timer: Pin<&mut Sleep>) -> bool {
    let mut timer = timer;
    poll_fn(|cx| Poll::Ready(timer.as_mut().poll(cx).is_pending())).await
}

async fn timer(n: u64) -> Outcome {
    let mut pending = 0;
    let begin = Instant::now();
    for _ in 0..n {
        let t = pin!(sleep(HOUR));
        pending += set(t).await as u64;
    }
    outcome(begin.elapsed(), n, pending, n)
}

async fn sleepers(n: u64) -> Outcome {
    let slot = slots(n);
    let all = Countdown::new(n);
    let begin = Instant::now();
    for s in slot {
        tokio::spawn(async move {
            let begin = Instant::now();
            sleep(MS).await;
            s.store((begin.elapsed() >= MS) as u8, Relaxed);
            all.done();
        });
    }
    all.wait().await;
    outcome(begin.elapsed(), n, sum_slots(slot), n)
}

/// CPU time of this process, its threads added up: std has no call for it.
fn cpu_time() -> Duration {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else {
        fail("/proc/self/task", "not readable");
    };
    let ns = |path| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.split(' ').next().and_then(|v| v.parse::<u64>().ok()).unwrap_or(0)
    };
    Duration::from_nanos(threads.flatten().map(|t| ns(t.path().join("schedstat"))).sum())
}

async fn idle(n: u64) -> Outcome {
    let before = cpu_time();
    sleep(MS * n as u32).await;
    outcome(cpu_time() - before, n, n, n)
}

async fn wakeup(n: u64) -> Outcome {
    let mut late = Vec::new();
    for _ in 0..n {
        let begin = Instant::now();
        sleep(MS).await;
        late.push(begin.elapsed().saturating_sub(MS));
    }
    late.sort();
    let (p50, p99) = (late[late.len() / 2], late[late.len() * 99 / 100]);
    let extra = format!(" p50_ns={} p99_ns={}", p50.as_nanos(), p99.as_nanos());
    Outcome { extra, ..outcome(p50, 1, late.len() as u64, n) }
}

// -- many at once -----------------------------------------------------------------------------

async fn ctx_tree(n: u64) -> Outcome {
    let mut c = Vec::with_capacity(n as usize);
    let (mut cancelled, mut ops) = (0, 0);
    let begin = Instant::now();
    while begin.elapsed() < ENOUGH {
        c.push(CancellationToken::new());
        for i in 1..n as usize {
            let child = c[(i - 1) / 10].child_token();
            c.push(child);
        }
        c[0].cancel();
        cancelled = c.iter().filter(|c| c.is_cancelled()).count() as u64;
        c.clear();
        ops += n;
    }
    outcome(begin.elapsed(), ops, cancelled, n)
}

/// A field of /proc/self/status, in KB.
fn status_kb(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|l| l.starts_with(field)).unwrap_or("");
    line.split_whitespace().nth(1).and_then(|v| v.parse().ok()).unwrap_or(0)
}

struct Parking {
    gate: Semaphore, // without permits; closed to release all
    ready: &'static Countdown,
    ended: &'static Countdown,
}

impl Parking {
    async fn park(n: u64) -> &'static Parking {
        let p = forever(Parking {
            gate: Semaphore::new(0),
            ready: Countdown::new(n),
            ended: Countdown::new(n),
        });
        for _ in 0..n {
            tokio::spawn(async move {
                p.ready.done();
                let _ = p.gate.acquire().await;
                p.ended.done();
            });
        }
        p.ready.wait().await;
        p
    }
    async fn release(&self) {
        self.gate.close();
        self.ended.wait().await;
    }
}

async fn parked1m(n: u64) -> Outcome {
    let before = status_kb("VmRSS:");
    let begin = Instant::now();
    let p = Parking::park(n).await;
    let spawn = begin.elapsed();
    let bytes = status_kb("VmRSS:").saturating_sub(before) * 1024;
    let begin = Instant::now();
    p.release().await;
    let release = begin.elapsed();
    let each = |d: Duration| d.as_nanos() as u64 / n;
    let extra = format!(
        " spawn_ns={} release_ns={} bytes_per_goroutine={}",
        each(spawn),
        each(release),
        bytes / n
    );
    Outcome { extra, ..outcome(spawn + release, n, n, n) }
}

// -- growth: the same operation among N tasks -------------------------------------------------

/// Many tasks that all exist before the clock starts and after it stops: what it measures is the
/// operation. The gates hold them at both ends.
struct Crowd {
    begin: Semaphore,
    end: Semaphore,
    ready: &'static Countdown,
    done: &'static Countdown,
    sum: AtomicU64,
}

impl Crowd {
    async fn new<F>(n: u64, work: impl Fn() -> F) -> &'static Crowd
    where
        F: Future<Output = u64> + Send + 'static,
    {
        let all = forever(Crowd {
            begin: Semaphore::new(0),
            end: Semaphore::new(0),
            ready: Countdown::new(n),
            done: Countdown::new(n),
            sum: AtomicU64::new(0),
        });
        for _ in 0..n {
            let job = work();
            tokio::spawn(async move {
                all.ready.done();
                let _ = all.begin.acquire().await;
                all.sum.fetch_add(job.await, Relaxed);
                all.done.done();
                let _ = all.end.acquire().await;
                all.ready.done();
            });
        }
        all.ready.wait().await;
        all
    }
    async fn free(&self, n: u64) {
        self.ready.set(n);
        self.end.close();
        self.ready.wait().await;
    }
}

async fn grow_yield(n: u64) -> Outcome {
    let each = turns(n, 10000000, 10, 10000);
    let all = Crowd::new(n, || yield_worker(each)).await;
    let begin = Instant::now();
    all.begin.close();
    all.done.wait().await;
    let elapsed = begin.elapsed();
    let sum = all.sum.load(Relaxed);
    all.free(n).await;
    outcome(elapsed, n * each, sum, n * each)
}

async fn grow_channel(n: u64) -> Outcome {
    let each = turns(n, 4000000, 4, 4000);
    let (tx, mut rx) = mpsc::channel(1);
    let all = Crowd::new(n, || send_all(tx.clone(), each)).await;
    let mut sum = 0;
    let begin = Instant::now();
    all.begin.close();
    for _ in 0..n * each {
        sum += rx.recv().await.unwrap();
    }
    let elapsed = begin.elapsed();
    all.done.wait().await;
    all.free(n).await;
    outcome(elapsed, n * each, sum, n * sum_below(each))
}

async fn grow_ring(n: u64) -> Outcome {
    time_ring(n, n * turns(n, 4000000, 4, 4000)).await
}

fn next_random(x: &mut u64) -> u64 {
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    *x
}

async fn grow_timer(n: u64) -> Outcome {
    let ops = n * turns(n, 4000000, 4, 4000);
    let mut x = 88172645463325252;
    let mut t = Vec::new();
    let mut pending = 0;
    for _ in 0..n {
        let mut s = Box::pin(sleep(HOUR + Duration::from_secs(next_random(&mut x) % 3600)));
        set(s.as_mut()).await;
        t.push(s);
    }
    let begin = Instant::now();
    let now = tokio::time::Instant::now();
    for _ in 0..ops {
        let s = &mut t[(next_random(&mut x) % n) as usize];
        s.as_mut().reset(now + HOUR + Duration::from_secs(next_random(&mut x) % 3600));
        pending += !s.is_elapsed() as u64;
    }
    outcome(begin.elapsed(), ops, pending, ops)
}

async fn grow_spawn(n: u64) -> Outcome {
    let rounds = turns(n, 1000000, 1, 1000);
    Parking::park(n).await.release().await; // memory is there before the clock starts
    let begin = Instant::now();
    for _ in 0..rounds {
        Parking::park(n).await.release().await;
    }
    outcome(begin.elapsed(), n * rounds, n * rounds, n * rounds)
}

// -- the table --------------------------------------------------------------------------------

type Case = (&'static str, u64, fn(u64) -> Boxed<Outcome>);

macro_rules! cases {
    ($($n:literal $name:ident)*) => { &[$((stringify!($name), $n, |n| Box::pin($name(n)))),*] };
}

/// What an op is, bench.c says.
static CASES: &[Case] = cases! {
    10000000 yield2
    10000000 yield1000
    3000000 pingpong
    5000000 oneway
    20000000 buffered
    2000000 select4
    50000000 tryrecv_empty
    2000000 spawn_wait
    2000000 spawn_join
    30 fib
    1000000 skynet
    12 nqueens
    5000000 ring1000
    50000000 mutex
    50000000 mutex8
    20000000 rwmutex
    4000000 wg10000
    3000000 timer
    100000 sleepers
    100000 ctx_tree
    1000000 parked1m
    10000 idle
    1000 wakeup
    1000 grow_yield
    1000 grow_channel
    1000 grow_ring
    1000 grow_timer
    1000 grow_spawn
};

// -- main -------------------------------------------------------------------------------------

fn usage() -> ! {
    eprintln!("usage: bench list | bench CASE [N [PROCS]]");
    exit(2)
}

fn argument(args: &[String], i: usize) -> u64 {
    args.get(i).map_or(0, |text| text.parse().unwrap_or_else(|_| usage()))
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args.len() == 2 && args[1] == "list" {
        for (name, n, _) in CASES {
            println!("{name} {n}");
        }
        return;
    }
    if !(2..=4).contains(&args.len()) {
        usage();
    }
    let Some((name, default_n, work)) = CASES.iter().find(|c| c.0 == args[1]) else {
        eprintln!("bench: no case {} here", args[1]);
        exit(3);
    };
    let n = match argument(&args, 2) {
        0 => *default_n,
        n => n,
    };
    let procs = match argument(&args, 3) as usize {
        0 => std::thread::available_parallelism().map_or(1, |p| p.get()),
        procs => procs,
    };
    let mut builder = match procs {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.worker_threads(procs).enable_time().build().unwrap();
    let out = runtime.block_on(async { tokio::spawn(work(n)).await.unwrap() });
    if out.check != out.want {
        fail(name, format!("wrong result {}, not {}", out.check, out.want));
    }
    println!(
        "case={name} n={n} procs={procs} ns_per_op={:.3} rss_kb={} check={}{}",
        out.elapsed.as_nanos() as f64 / out.ops as f64,
        status_kb("VmHWM:"),
        out.check,
        out.extra
    );
    runtime.shutdown_background();
}
