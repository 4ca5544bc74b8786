// The benchmark cases of bench/bench.c for Go: same names, same work, same command line, same
// output line.
//
//	bench list               the cases, each with its default N
//	bench CASE [N [PROCS]]   run one; N 0: the case's default; PROCS 0: the runtime's default
package main

import (
	"bufio"
	"context"
	"fmt"
	"math/bits"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// -- the harness ------------------------------------------------------------------------------

type bench struct {
	n       int           // in: how much work
	begin   time.Time     // while the clock runs
	elapsed time.Duration // on the clock so far
	ops     int           // out: what ns_per_op divides by
	check   uint64        // out: a sum over the results
	extra   string        // out: more " key=value" for the end of the line
}

func fail(what string, err any) {
	fmt.Fprintf(os.Stderr, "bench: %s: %v\n", what, err)
	os.Exit(1)
}

func (b *bench) start() {
	b.begin = time.Now()
}

func (b *bench) stop() {
	b.elapsed += time.Since(b.begin)
}

func (b *bench) result(ops int, check uint64) {
	b.ops = ops
	b.check = check
}

// The share of n for each of k workers: at least 1, so that a tiny N still runs all of them.
func share(n, k int) int {
	return max(1, n/k)
}

// workers are goroutines alike, each of which leaves a sum.
type workers struct {
	wg  sync.WaitGroup
	sum []uint64
}

func startWorkers(k int, fn func() uint64) *workers {
	w := &workers{sum: make([]uint64, k)}
	for i := range k {
		w.wg.Go(func() { w.sum[i] = fn() })
	}
	return w
}

func (w *workers) join() uint64 {
	w.wg.Wait()
	var sum uint64
	for _, s := range w.sum {
		sum += s
	}
	return sum
}

// The whole of a case that is nothing but k workers, each of which does its work n times.
func (b *bench) timeWorkers(k int, fn func(n int) uint64) {
	n := share(b.n, k)
	b.start()
	sum := startWorkers(k, func() uint64 { return fn(n) }).join()
	b.stop()
	b.result(n*k, sum)
}

// -- switching --------------------------------------------------------------------------------

func yieldWorker(n int) uint64 {
	var done uint64
	for range n {
		runtime.Gosched()
		done++
	}
	return done
}

func yield2(b *bench) {
	b.timeWorkers(2, yieldWorker)
}

func yield1000(b *bench) {
	b.timeWorkers(1000, yieldWorker)
}

// -- channels ---------------------------------------------------------------------------------

func pingpong(b *bench) {
	ping, pong := make(chan int), make(chan int)
	go func() {
		for v := range ping {
			pong <- v
		}
	}()
	var sum uint64
	b.start()
	for i := range b.n {
		ping <- i
		sum += uint64(<-pong)
	}
	b.stop()
	b.result(b.n, sum)
	close(ping)
}

func sendAll(c chan<- int, n int) {
	for i := range n {
		c <- i
	}
}

func recvAll(c <-chan int) uint64 {
	var sum uint64
	for v := range c {
		sum += uint64(v)
	}
	return sum
}

// k goroutines send, k others receive, all on one channel.
func (b *bench) stream(capacity, k int) {
	c := make(chan int, capacity)
	n := share(b.n, k)
	b.start()
	receivers := startWorkers(k, func() uint64 { return recvAll(c) })
	senders := startWorkers(k, func() uint64 { sendAll(c, n); return 0 })
	senders.join()
	close(c)
	sum := receivers.join()
	b.stop()
	b.result(n*k, sum)
}

func oneway(b *bench) {
	b.stream(0, 1)
}

func buffered(b *bench) {
	b.stream(128, 1)
}

func buffered8x8(b *bench) {
	b.stream(128, 8)
}

func select4(b *bench) {
	var c [4]chan int
	for i := range c {
		c[i] = make(chan int)
	}
	n := share(b.n, 4)
	c0, c1, c2, c3 := c[0], c[1], c[2], c[3]
	var sum uint64
	b.start()
	for i := range c {
		go sendAll(c[i], n)
	}
	for range n * 4 {
		select {
		case v := <-c0:
			sum += uint64(v)
		case v := <-c1:
			sum += uint64(v)
		case v := <-c2:
			sum += uint64(v)
		case v := <-c3:
			sum += uint64(v)
		}
	}
	b.stop()
	b.result(n*4, sum)
}

func tryrecvEmpty(b *bench) {
	c := make(chan int, 1)
	var empty uint64
	b.start()
	for range b.n {
		select {
		case <-c:
		default:
			empty++
		}
	}
	b.stop()
	b.result(b.n, empty)
}

// Member of a ring: takes the hops left from its left neighbour, hands one less to the right.
func ringWorker(in <-chan int, out, done chan<- int) {
	for left := range in {
		left--
		if left > 0 {
			out <- left
		} else {
			done <- left
		}
	}
}

func ring1000(b *bench) {
	const k = 1000
	done := make(chan int)
	c := make([]chan int, k)
	for i := range c {
		c[i] = make(chan int)
	}
	for i := range c {
		go ringWorker(c[i], c[(i+1)%k], done)
	}
	b.start()
	c[0] <- b.n
	left := <-done
	b.stop()
	b.result(b.n, uint64(b.n-left))
	for i := range c {
		close(c[i])
	}
}

// -- starting goroutines ----------------------------------------------------------------------

// One Add before, and Done without defer: both quicker than WaitGroup.Go.
func spawnWait(b *bench) {
	slot := make([]byte, b.n)
	var wg sync.WaitGroup
	b.start()
	wg.Add(b.n)
	for i := range b.n {
		go func() {
			slot[i] = 1
			wg.Done()
		}()
	}
	wg.Wait()
	b.stop()
	b.result(b.n, sumBytes(slot))
}

func sumBytes(slot []byte) uint64 {
	var sum uint64
	for _, s := range slot {
		sum += uint64(s)
	}
	return sum
}

// A channel is the quicker join here and a wait group the plain one in C: to each its own.
func spawnJoin(b *bench) {
	c := make(chan int)
	var sum uint64
	b.start()
	for i := range b.n {
		go func() { c <- i + 1 }()
		sum += uint64(<-c)
	}
	b.stop()
	b.result(b.n, sum)
}

func wg10000(b *bench) {
	const k = 10000
	rounds := share(b.n, k)
	var wg sync.WaitGroup
	var sum uint64
	b.start()
	for range rounds {
		wg.Add(k)
		for range k {
			go wg.Done()
		}
		wg.Wait()
		sum += k
	}
	b.stop()
	b.result(rounds*k, sum)
}

// A channel per inner node, as the original has it; a goroutine per node, leaves included.
func skynetNode(out chan<- int, first, size int) {
	if size == 1 {
		out <- first
		return
	}
	in := make(chan int)
	for i := range 10 {
		go skynetNode(in, first+i*(size/10), size/10)
	}
	sum := 0
	for range 10 {
		sum += <-in
	}
	out <- sum
}

// N leaves, N taken down to a power of ten.
func skynet(b *bench) {
	c := make(chan int)
	leaves, nodes := 1, 1
	for leaves*10 <= b.n {
		leaves *= 10
		nodes += leaves
	}
	b.start()
	go skynetNode(c, 0, leaves)
	sum := <-c
	b.stop()
	b.result(nodes, uint64(sum))
}

// -- fork-join --------------------------------------------------------------------------------

// Room for the result, so that the child need not wait for its parent.
func fibNode(n int) int {
	if n < 2 {
		return n
	}
	c := make(chan int, 1)
	go func() { c <- fibNode(n - 1) }()
	right := fibNode(n - 2)
	return <-c + right
}

// Forks that fibNode(n) makes: one in every call with n >= 2, which is fib(n + 1) - 1 of them.
func fibForks(n int) int {
	low, high := 0, 1 // fib(i), fib(i + 1)
	for range n {
		low, high = high, low+high
	}
	return high - 1
}

func fib(b *bench) {
	b.start()
	sum := fibNode(b.n)
	b.stop()
	b.result(fibForks(b.n), uint64(sum))
}

// Bit sets over the columns of the next row: all, taken, and attacked along both diagonals.
type board struct {
	all, taken, left, right uint32
}

func (b board) free() uint32 {
	return b.all &^ (b.taken | b.left | b.right)
}

func (b board) put(queen uint32) board {
	return board{b.all, b.taken | queen, (b.left | queen) << 1, (b.right | queen) >> 1}
}

func queensCountForks(b board) int {
	forks := 0
	for rest := b.free(); rest != 0; rest &= rest - 1 {
		forks += 1 + queensCountForks(b.put(rest&-rest))
	}
	return forks
}

func queensNode(b board) int {
	if b.taken == b.all {
		return 1
	}
	rest := b.free()
	if rest == 0 {
		return 0
	}
	n := bits.OnesCount32(rest)
	results := make(chan int, n)
	for ; rest != 0; rest &= rest - 1 {
		next := b.put(rest & -rest)
		go func() { results <- queensNode(next) }()
	}
	found := 0
	for range n {
		found += <-results
	}
	return found
}

func nqueens(b *bench) {
	if b.n < 1 || b.n > 16 {
		fail("nqueens", "N is 1 to 16")
	}
	root := board{all: 1<<b.n - 1}
	b.start()
	found := queensNode(root)
	b.stop()
	b.result(queensCountForks(root), uint64(found))
}

func scaleRange(x []float32) {
	for i := range x {
		x[i] = x[i]*0.5 + 1
	}
}

// A few chunks per processor, so that one that is held up does not hold up the whole.
// The values are such that floats hold them exactly, fused multiply-add or not.
func parallelFor(b *bench) {
	x := make([]float32, b.n)
	for i := range x {
		x[i] = float32(i & 1023)
	}
	chunks := 4 * runtime.GOMAXPROCS(0)
	b.start()
	var wg sync.WaitGroup
	for i := range chunks {
		wg.Go(func() { scaleRange(x[i*b.n/chunks : (i+1)*b.n/chunks]) })
	}
	wg.Wait()
	b.stop()
	var sum float64
	for _, v := range x {
		sum += float64(v)
	}
	b.result(b.n, uint64(sum))
}

// -- locks ------------------------------------------------------------------------------------

type guarded struct {
	mutex sync.Mutex
	value uint64
}

func (b *bench) mutexBy(k int) {
	var g guarded
	b.timeWorkers(k, func(n int) uint64 {
		for range n {
			g.mutex.Lock()
			g.value++
			g.mutex.Unlock()
		}
		return 0
	})
	b.check = g.value
}

func mutex(b *bench) {
	b.mutexBy(1)
}

func mutex8(b *bench) {
	b.mutexBy(8)
}

type rwGuarded struct {
	mutex sync.RWMutex
	value uint64
}

func rwmutex(b *bench) {
	g := rwGuarded{value: 1}
	b.timeWorkers(8, func(n int) uint64 {
		var sum uint64
		for range n {
			g.mutex.RLock()
			sum += g.value
			g.mutex.RUnlock()
		}
		return sum
	})
}

// -- time -------------------------------------------------------------------------------------

func never() {
	fail("timer", "a stopped timer ran")
}

func count(yes bool) uint64 {
	if yes {
		return 1
	}
	return 0
}

func timer(b *bench) {
	var pending uint64
	b.start()
	for range b.n {
		t := time.AfterFunc(time.Hour, never)
		pending += count(t.Stop())
	}
	b.stop()
	b.result(b.n, pending)
}

func timerReset(b *bench) {
	var pending uint64
	t := time.AfterFunc(time.Hour, never)
	t.Stop()
	b.start()
	for range b.n {
		t.Reset(time.Hour)
		pending += count(t.Stop())
	}
	b.stop()
	b.result(b.n, pending)
}

func sleepers(b *bench) {
	slot := make([]byte, b.n)
	var wg sync.WaitGroup
	b.start()
	wg.Add(b.n)
	for i := range b.n {
		go func() {
			begin := time.Now()
			time.Sleep(time.Millisecond)
			slot[i] = byte(count(time.Since(begin) >= time.Millisecond))
			wg.Done()
		}()
	}
	wg.Wait()
	b.stop()
	b.result(b.n, sumBytes(slot))
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		fail("getrusage", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func idle(b *bench) {
	before := cpuTime()
	time.Sleep(time.Duration(b.n) * time.Millisecond)
	b.elapsed = cpuTime() - before
	b.result(b.n, uint64(b.elapsed.Microseconds()))
}

func wakeup(b *bench) {
	late := make([]time.Duration, b.n)
	for i := range late {
		begin := time.Now()
		time.Sleep(time.Millisecond)
		late[i] = time.Since(begin) - time.Millisecond
	}
	slices.Sort(late)
	b.elapsed = late[b.n/2]
	b.extra = fmt.Sprintf(" p50_ns=%d p99_ns=%d", late[b.n/2], late[b.n*99/100])
	b.result(1, uint64(b.n))
}

// -- many at once -----------------------------------------------------------------------------

func ctxTree(b *bench) {
	c := make([]context.Context, b.n)
	cancel := make([]context.CancelFunc, b.n)
	var cancelled uint64
	b.start()
	for i := range c {
		parent := context.Background()
		if i > 0 {
			parent = c[(i-1)/10]
		}
		c[i], cancel[i] = context.WithCancel(parent)
	}
	cancel[0]()
	for i := range c {
		cancelled += count(c[i].Err() == context.Canceled)
	}
	for i := range cancel {
		cancel[i]()
	}
	b.stop()
	b.result(b.n, cancelled)
}

func rssBytes() int {
	var total, resident int
	text, err := os.ReadFile("/proc/self/statm")
	if err == nil {
		_, err = fmt.Sscan(string(text), &total, &resident)
	}
	if err != nil {
		fail("/proc/self/statm", err)
	}
	return resident * os.Getpagesize()
}

func parked1m(b *bench) {
	gate := make(chan struct{}) // closed to release all
	var ready, ended sync.WaitGroup
	before := rssBytes()

	b.start()
	ready.Add(b.n)
	ended.Add(b.n)
	for range b.n {
		go func() {
			ready.Done()
			<-gate
			ended.Done()
		}()
	}
	ready.Wait()
	b.stop()
	spawn, bytes := b.elapsed, rssBytes()-before

	b.start()
	close(gate)
	ended.Wait()
	b.stop()
	b.extra = fmt.Sprintf(" spawn_ns=%d release_ns=%d bytes_per_goroutine=%d",
		int(spawn)/b.n, int(b.elapsed-spawn)/b.n, bytes/b.n)
	b.result(b.n, uint64(b.n))
}

// -- the table --------------------------------------------------------------------------------

type benchCase struct {
	name     string
	defaultN int
	fn       func(b *bench)
}

// The comments say what one op is; bench.c has the same.
var cases = []benchCase{
	// a yield; 2 goroutines
	{"yield2", 10000000, yield2},
	// a yield; 1,000 goroutines
	{"yield1000", 5000000, yield1000},
	// a round trip, two values; two unbuffered
	{"pingpong", 3000000, pingpong},
	// a value, 1 sender to 1 receiver; unbuffered
	{"oneway", 5000000, oneway},
	// a value, 1 sender to 1 receiver; buffer 128
	{"buffered", 10000000, buffered},
	// a value, 8 to 8, one channel; buffer 128
	{"buffered8x8", 10000000, buffered8x8},
	// a receive by select; 4 unbuffered, a sender on each
	{"select4", 2000000, select4},
	// a try-receive that finds nothing; buffer 1
	{"tryrecv_empty", 50000000, tryrecvEmpty},
	// a goroutine that stores a byte; all under one wait group
	{"spawn_wait", 2000000, spawnWait},
	// a goroutine, its result waited for before the next is started
	{"spawn_join", 1000000, spawnJoin},
	// a fork and its join; N is fib's argument
	{"fib", 30, fib},
	// a goroutine, inner nodes and N leaves; fan-out 10, a channel per inner node
	{"skynet", 1000000, skynet},
	// a fork and its join, one per queen placed; N is the size of the board
	{"nqueens", 12, nqueens},
	// x = x * 0.5 + 1 on one float in memory
	{"parallel_for", 100000000, parallelFor},
	// a hop in a ring of 1,000; unbuffered
	{"ring1000", 3000000, ring1000},
	// a lock, an increment, an unlock; alone
	{"mutex", 50000000, mutex},
	// the same; 8 goroutines
	{"mutex8", 20000000, mutex8},
	// a read lock, a read, an unlock; 8 readers
	{"rwmutex", 20000000, rwmutex},
	// a goroutine that is done; rounds of: add 10,000, start 10,000, wait
	{"wg10000", 2000000, wg10000},
	// a new timer of an hour started and stopped
	{"timer", 3000000, timer},
	// one timer set anew to an hour and stopped
	{"timer_reset", 5000000, timerReset},
	// a goroutine started, asleep 1 ms, ended
	{"sleepers", 100000, sleepers},
	// a context made, cancelled through the root, looked at, released; fan-out 10
	{"ctx_tree", 100000, ctxTree},
	// a goroutine started, parked on one channel, released by close, ended
	{"parked1m", 1000000, parked1m},
	// CPU time of 1 ms of idleness; N is in ms, check is the CPU time in us
	{"idle", 10000, idle},
	// how late a sleep of 1 ms ends with nothing else to run: the median (p50_ns, p99_ns)
	{"wakeup", 1000, wakeup},
}

// -- main -------------------------------------------------------------------------------------

func list() {
	for _, c := range cases {
		fmt.Println(c.name, c.defaultN)
	}
}

// Not getrusage: its peak outlives exec, so it is at least that of the program that started us.
func peakRSS() int {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kb int
		if _, err := fmt.Sscanf(lines.Text(), "VmHWM: %d", &kb); err == nil {
			return kb
		}
	}
	return 0
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: bench list | bench CASE [N [PROCS]]")
	os.Exit(2)
}

// Argument i as a count; 0 if it is not given.
func argument(i int) int {
	if len(os.Args) <= i {
		return 0
	}
	v, err := strconv.Atoi(os.Args[i])
	if err != nil || v < 0 {
		usage()
	}
	return v
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "list" {
		list()
		return
	}
	if len(os.Args) < 2 || len(os.Args) > 4 {
		usage()
	}
	at := slices.IndexFunc(cases, func(c benchCase) bool { return c.name == os.Args[1] })
	if at < 0 {
		usage()
	}
	b := &bench{n: argument(2)}
	if b.n == 0 {
		b.n = cases[at].defaultN
	}
	if procs := argument(3); procs > 0 {
		runtime.GOMAXPROCS(procs)
	}
	cases[at].fn(b)
	fmt.Printf("case=%s n=%d procs=%d ns_per_op=%.3f rss_kb=%d check=%d%s\n",
		cases[at].name, b.n, runtime.GOMAXPROCS(0),
		float64(b.elapsed.Nanoseconds())/float64(max(1, b.ops)), peakRSS(), b.check, b.extra)
}
