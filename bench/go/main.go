// The benchmark cases of bench/bench.c for Go: same names, same work. Command line, output line and
// exit status are those of bench/harness.h. Builds with Go 1.19 and later.
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
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
	want    uint64        // out: what check must be
	extra   string        // out: more " key=value" for the end of the line
}

const noSuchCase = 3

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

func (b *bench) result(ops int, check, want uint64) {
	b.ops = ops
	b.check = check
	b.want = want
}

// The share of n for each of k workers: at least 1, so that a tiny N still runs all of them.
func share(n, k int) int {
	if n < k {
		return 1
	}
	return n / k
}

// A case of a fixed size that is short is done again until its clock has run for a while.
func (b *bench) enough() bool {
	return b.elapsed >= 100*time.Millisecond
}

// How often each of n does its work in a growth case: about total in all, and for few of them not
// more than most times, so that a tiny N is quick.
func turns(n, total, least, most int) int {
	each := total / n
	if each < least {
		return least
	}
	if each > most {
		return most
	}
	return each
}

// 0 + 1 + ... + n - 1
func sumBelow(n int) uint64 {
	return uint64(n) * uint64(n-1) / 2
}

// workers are goroutines alike, each of which leaves a sum.
type workers struct {
	wg  sync.WaitGroup
	sum []uint64
}

func startWorkers(k int, fn func() uint64) *workers {
	w := &workers{sum: make([]uint64, k)}
	w.wg.Add(k)
	for i := range w.sum {
		go func(sum *uint64) {
			*sum = fn()
			w.wg.Done()
		}(&w.sum[i])
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
	b.result(n*k, sum, uint64(n*k))
}

// -- switching --------------------------------------------------------------------------------

func yieldWorker(n int) uint64 {
	var done uint64
	for i := 0; i < n; i++ {
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
	for i := 0; i < b.n; i++ {
		ping <- i
		sum += uint64(<-pong)
	}
	b.stop()
	b.result(b.n, sum, sumBelow(b.n))
	close(ping)
}

func sendAll(c chan<- int, n int) {
	for i := 0; i < n; i++ {
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
	b.result(n*k, sum, uint64(k)*sumBelow(n))
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
	for i := 0; i < n*4; i++ {
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
	b.result(n*4, sum, 4*sumBelow(n))
}

func tryrecvEmpty(b *bench) {
	c := make(chan int, 1)
	var empty uint64
	b.start()
	for i := 0; i < b.n; i++ {
		select {
		case <-c:
		default:
			empty++
		}
	}
	b.stop()
	b.result(b.n, empty, uint64(b.n))
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

type ring struct {
	c    []chan int
	done chan int
}

func startRing(n int) ring {
	r := ring{make([]chan int, n), make(chan int)}
	for i := range r.c {
		r.c[i] = make(chan int)
	}
	for i := range r.c {
		go ringWorker(r.c[i], r.c[(i+1)%n], r.done)
	}
	return r
}

// So many hops. Returns how many are left at the end: 0.
func (r ring) run(hops int) int {
	r.c[0] <- hops
	return <-r.done
}

// Once around before the clock starts: then all have started, and wait.
func (b *bench) timeRing(members, hops int) {
	r := startRing(members)
	r.run(members)
	b.start()
	left := r.run(hops)
	b.stop()
	b.result(hops, uint64(hops-left), uint64(hops))
	for i := range r.c {
		close(r.c[i])
	}
}

func ring1000(b *bench) {
	b.timeRing(1000, b.n)
}

// -- starting goroutines ----------------------------------------------------------------------

// One Add before, and Done without defer: both quicker than WaitGroup.Go.
func spawnWait(b *bench) {
	slot := make([]byte, b.n)
	var wg sync.WaitGroup
	b.start()
	wg.Add(b.n)
	for i := 0; i < b.n; i++ {
		i := i
		go func() {
			slot[i] = 1
			wg.Done()
		}()
	}
	wg.Wait()
	b.stop()
	b.result(b.n, sumBytes(slot), uint64(b.n))
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
	for i := 0; i < b.n; i++ {
		i := i
		go func() { c <- i + 1 }()
		sum += uint64(<-c)
	}
	b.stop()
	b.result(b.n, sum, sumBelow(b.n+1))
}

func wg10000(b *bench) {
	const k = 10000
	rounds := share(b.n, k)
	var wg sync.WaitGroup
	var sum uint64
	b.start()
	for i := 0; i < rounds; i++ {
		wg.Add(k)
		for i := 0; i < k; i++ {
			go wg.Done()
		}
		wg.Wait()
		sum += k
	}
	b.stop()
	b.result(rounds*k, sum, uint64(rounds*k))
}

// A channel per inner node, as the original has it; a goroutine per node, leaves included.
func skynetNode(out chan<- int, first, size int) {
	if size == 1 {
		out <- first
		return
	}
	in := make(chan int)
	for i := 0; i < 10; i++ {
		go skynetNode(in, first+i*(size/10), size/10)
	}
	sum := 0
	for i := 0; i < 10; i++ {
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
	b.result(nodes, uint64(sum), sumBelow(leaves))
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

func fibValue(n int) int {
	low, high := 0, 1 // fib(i), fib(i + 1)
	for i := 0; i < n; i++ {
		low, high = high, low+high
	}
	return low
}

// Forks: one in every call of fibNode with n >= 2, which is fib(n + 1) - 1 of them.
func fib(b *bench) {
	sum, forks := 0, 0
	for !b.enough() {
		b.start()
		sum = fibNode(b.n)
		b.stop()
		forks += fibValue(b.n+1) - 1
	}
	b.result(forks, uint64(sum), uint64(fibValue(b.n)))
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
	for i := 0; i < n; i++ {
		found += <-results
	}
	return found
}

var queensValue = [...]uint64{1, 1, 0, 0, 2, 10, 4, 40, 92, 352, 724, 2680, 14200, 73712, 365596,
	2279184, 14772512}

func nqueens(b *bench) {
	if b.n < 1 || b.n > 16 {
		fail("nqueens", "N is 1 to 16")
	}
	root := board{all: 1<<b.n - 1}
	found, forks, each := 0, 0, queensCountForks(root)
	for !b.enough() {
		b.start()
		found = queensNode(root)
		b.stop()
		forks += each
	}
	b.result(forks, uint64(found), queensValue[b.n])
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
	for i := 0; i < chunks; i++ {
		part := x[i*b.n/chunks : (i+1)*b.n/chunks]
		wg.Add(1)
		go func() {
			scaleRange(part)
			wg.Done()
		}()
	}
	wg.Wait()
	b.stop()
	var sum float64
	var before uint64
	for i, v := range x {
		sum += float64(v)
		before += uint64(i & 1023)
	}
	b.result(b.n, uint64(2*sum), before+2*uint64(b.n))
}

// -- locks ------------------------------------------------------------------------------------

type guarded struct {
	mutex sync.Mutex
	value uint64
}

func (b *bench) mutexBy(k int) {
	var g guarded
	b.timeWorkers(k, func(n int) uint64 {
		for i := 0; i < n; i++ {
			g.mutex.Lock()
			g.value++
			g.mutex.Unlock()
		}
		return uint64(n)
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
		for i := 0; i < n; i++ {
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
	for i := 0; i < b.n; i++ {
		t := time.AfterFunc(time.Hour, never)
		pending += count(t.Stop())
	}
	b.stop()
	b.result(b.n, pending, uint64(b.n))
}

func timerReset(b *bench) {
	var pending uint64
	t := time.AfterFunc(time.Hour, never)
	t.Stop()
	b.start()
	for i := 0; i < b.n; i++ {
		t.Reset(time.Hour)
		pending += count(t.Stop())
	}
	b.stop()
	b.result(b.n, pending, uint64(b.n))
}

func sleepers(b *bench) {
	slot := make([]byte, b.n)
	var wg sync.WaitGroup
	b.start()
	wg.Add(b.n)
	for i := 0; i < b.n; i++ {
		i := i
		go func() {
			begin := time.Now()
			time.Sleep(time.Millisecond)
			slot[i] = byte(count(time.Since(begin) >= time.Millisecond))
			wg.Done()
		}()
	}
	wg.Wait()
	b.stop()
	b.result(b.n, sumBytes(slot), uint64(b.n))
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
	b.result(b.n, uint64(b.n), uint64(b.n))
}

func wakeup(b *bench) {
	late := make([]time.Duration, b.n)
	for i := range late {
		begin := time.Now()
		time.Sleep(time.Millisecond)
		late[i] = time.Since(begin) - time.Millisecond
	}
	sort.Slice(late, func(i, j int) bool { return late[i] < late[j] })
	var onTime uint64
	for _, d := range late {
		onTime += count(d >= 0)
	}
	b.elapsed = late[b.n/2]
	b.extra = fmt.Sprintf(" p50_ns=%d p99_ns=%d", late[b.n/2], late[b.n*99/100])
	b.result(1, onTime, uint64(b.n))
}

// -- many at once -----------------------------------------------------------------------------

// Make a tree, cancel it through its root, let it go. Returns how many were cancelled.
func ctxCycle(c []context.Context, cancel []context.CancelFunc) uint64 {
	var cancelled uint64
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
	return cancelled
}

func ctxTree(b *bench) {
	c := make([]context.Context, b.n)
	cancel := make([]context.CancelFunc, b.n)
	var cancelled uint64
	ops := 0
	for !b.enough() {
		b.start()
		cancelled = ctxCycle(c, cancel)
		b.stop()
		ops += b.n
	}
	b.result(ops, cancelled, uint64(b.n))
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

type parking struct {
	gate         chan struct{} // closed to release all
	ready, ended sync.WaitGroup
}

func (p *parking) park(n int) {
	p.gate = make(chan struct{})
	p.ready.Add(n)
	p.ended.Add(n)
	for i := 0; i < n; i++ {
		go func() {
			p.ready.Done()
			<-p.gate
			p.ended.Done()
		}()
	}
	p.ready.Wait()
}

func (p *parking) release() {
	close(p.gate)
	p.ended.Wait()
}

func parked1m(b *bench) {
	var p parking
	before := rssBytes()

	b.start()
	p.park(b.n)
	b.stop()
	spawn, bytes := b.elapsed, rssBytes()-before

	b.start()
	p.release()
	b.stop()
	b.extra = fmt.Sprintf(" spawn_ns=%d release_ns=%d bytes_per_goroutine=%d",
		int(spawn)/b.n, int(b.elapsed-spawn)/b.n, bytes/b.n)
	b.result(b.n, uint64(b.n), uint64(b.n))
}

// -- growth: the same operation among N goroutines --------------------------------------------

// Many goroutines that all exist before the clock starts and after it stops: what it measures is
// the operation. The gates hold them at both ends.
type crowd struct {
	begin, end  chan struct{}
	ready, done sync.WaitGroup
	sum         uint64 // of what each has done
}

func newCrowd(n int, fn func() int) *crowd {
	all := &crowd{begin: make(chan struct{}), end: make(chan struct{})}
	all.ready.Add(n)
	all.done.Add(n)
	for i := 0; i < n; i++ {
		go func() {
			all.ready.Done()
			<-all.begin
			did := fn()
			atomic.AddUint64(&all.sum, uint64(did))
			all.done.Done()
			<-all.end
			all.ready.Done()
		}()
	}
	all.ready.Wait()
	return all
}

func (all *crowd) free(n int) {
	all.ready.Add(n)
	close(all.end)
	all.ready.Wait()
}

func growYield(b *bench) {
	each := turns(b.n, 10000000, 10, 10000)
	all := newCrowd(b.n, func() int { return int(yieldWorker(each)) })
	b.start()
	close(all.begin)
	all.done.Wait()
	b.stop()
	b.result(b.n*each, all.sum, uint64(b.n*each))
	all.free(b.n)
}

func growChannel(b *bench) {
	each := turns(b.n, 4000000, 4, 4000)
	c := make(chan int)
	all := newCrowd(b.n, func() int { sendAll(c, each); return each })
	var sum uint64
	b.start()
	close(all.begin)
	for i := 0; i < b.n*each; i++ {
		sum += uint64(<-c)
	}
	b.stop()
	b.result(b.n*each, sum, uint64(b.n)*sumBelow(each))
	all.done.Wait()
	all.free(b.n)
}

func growRing(b *bench) {
	b.timeRing(b.n, b.n*turns(b.n, 4000000, 4, 4000))
}

func nextRandom(x *uint64) uint64 {
	*x ^= *x << 13
	*x ^= *x >> 7
	*x ^= *x << 17
	return *x
}

func someHours(x *uint64) time.Duration {
	return time.Duration(3600+nextRandom(x)%3600) * time.Second
}

func growTimer(b *bench) {
	t := make([]*time.Timer, b.n)
	ops := b.n * turns(b.n, 4000000, 4, 4000)
	var pending, x uint64 = 0, 88172645463325252
	for i := range t {
		t[i] = time.AfterFunc(someHours(&x), never)
	}
	b.start()
	for i := 0; i < ops; i++ {
		at := nextRandom(&x) % uint64(b.n)
		pending += count(t[at].Reset(someHours(&x)))
	}
	b.stop()
	b.result(ops, pending, uint64(ops))
}

func growSpawn(b *bench) {
	rounds := turns(b.n, 1000000, 1, 1000)
	round := func() {
		var p parking
		p.park(b.n)
		p.release()
	}
	round() // memory is there before the clock starts
	b.start()
	for i := 0; i < rounds; i++ {
		round()
	}
	b.stop()
	b.result(b.n*rounds, uint64(b.n*rounds), uint64(b.n*rounds))
}

// A goroutine that waits for its datagram socket, and sends back what it gets; 0 ends it.
func growListener(c *net.UDPConn) {
	var buf [8]byte
	for {
		n, err := c.Read(buf[:])
		if err != nil || n != len(buf) || binary.LittleEndian.Uint64(buf[:]) == 0 {
			break
		}
		if _, err = c.Write(buf[:]); err != nil {
			fail("write", err)
		}
	}
	c.Close()
}

// More descriptors or ports than the system gives: there is no such case here.
func mustDial(addr *net.UDPAddr) *net.UDPConn {
	c, err := net.DialUDP("udp", nil, addr)
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) ||
		errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAGAIN) {
		os.Exit(noSuchCase)
	}
	if err != nil {
		fail("dial", err)
	}
	return c
}

func growNetpoll(b *bench) {
	ops := b.n * turns(b.n, 100000, 1, 100)
	var x, sum, want uint64 = 88172645463325252, 0, 0
	peer := make([]netip.AddrPort, b.n)
	all, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		fail("listen", err)
	}
	var wg sync.WaitGroup
	for i := range peer {
		c := mustDial(all.LocalAddr().(*net.UDPAddr))
		peer[i] = c.LocalAddr().(*net.UDPAddr).AddrPort()
		wg.Add(1)
		go func() { growListener(c); wg.Done() }()
	}
	var buf [8]byte
	send := func(to netip.AddrPort, v uint64) {
		binary.LittleEndian.PutUint64(buf[:], v)
		if _, err := all.WriteToUDPAddrPort(buf[:], to); err != nil {
			fail("write", err)
		}
	}
	b.start()
	for i := 0; i < ops; i++ {
		at := nextRandom(&x) % uint64(b.n)
		want += at + 1
		send(peer[at], at+1)
		if _, err := all.Read(buf[:]); err != nil {
			fail("read", err)
		}
		sum += binary.LittleEndian.Uint64(buf[:])
	}
	b.stop()
	b.result(ops, sum, want)
	for _, to := range peer {
		send(to, 0)
	}
	wg.Wait()
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
	{"yield1000", 10000000, yield1000},
	// a round trip, two values; two unbuffered
	{"pingpong", 3000000, pingpong},
	// a value, 1 sender to 1 receiver; unbuffered
	{"oneway", 5000000, oneway},
	// a value, 1 sender to 1 receiver; buffer 128
	{"buffered", 20000000, buffered},
	// a value, 8 to 8, one channel; buffer 128
	{"buffered8x8", 20000000, buffered8x8},
	// a receive by select; 4 unbuffered, a sender on each
	{"select4", 2000000, select4},
	// a try-receive that finds nothing; buffer 1
	{"tryrecv_empty", 50000000, tryrecvEmpty},
	// a goroutine that stores a byte; all under one wait group
	{"spawn_wait", 2000000, spawnWait},
	// a goroutine, its result waited for before the next is started
	{"spawn_join", 2000000, spawnJoin},
	// a fork and its join; N is fib's argument
	{"fib", 30, fib},
	// a goroutine, inner nodes and N leaves; fan-out 10, a channel per inner node
	{"skynet", 1000000, skynet},
	// a fork and its join, one per queen placed; N is the size of the board
	{"nqueens", 12, nqueens},
	// x = x * 0.5 + 1 on one float in memory
	{"parallel_for", 100000000, parallelFor},
	// a hop in a ring of 1,000; unbuffered
	{"ring1000", 5000000, ring1000},
	// a lock, an increment, an unlock; alone
	{"mutex", 50000000, mutex},
	// the same; 8 goroutines
	{"mutex8", 50000000, mutex8},
	// a read lock, a read, an unlock; 8 readers
	{"rwmutex", 20000000, rwmutex},
	// a goroutine that is done; rounds of: add 10,000, start 10,000, wait
	{"wg10000", 4000000, wg10000},
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
	// CPU time of 1 ms of idleness; N is in ms
	{"idle", 10000, idle},
	// how late a sleep of 1 ms ends with nothing else to run: the median (p50_ns, p99_ns)
	{"wakeup", 1000, wakeup},
	// a yield; N goroutines
	{"grow_yield", 1000, growYield},
	// a value, N senders to one receiver; unbuffered
	{"grow_channel", 1000, growChannel},
	// a hop in a ring of N; unbuffered
	{"grow_ring", 1000, growRing},
	// one of N pending timers, drawn at random, set anew
	{"grow_timer", 1000, growTimer},
	// a goroutine started, parked, released and ended; N at once
	{"grow_spawn", 1000, growSpawn},
	// a datagram to one of N that each wait for a socket, drawn at random, and its answer
	{"grow_netpoll", 1000, growNetpoll},
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

func find(name string) *benchCase {
	for i := range cases {
		if cases[i].name == name {
			return &cases[i]
		}
	}
	return nil
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
	c := find(os.Args[1])
	if c == nil {
		fmt.Fprintf(os.Stderr, "bench: no case %s here\n", os.Args[1])
		os.Exit(noSuchCase)
	}
	b := &bench{n: argument(2)}
	if b.n == 0 {
		b.n = c.defaultN
	}
	if procs := argument(3); procs > 0 {
		runtime.GOMAXPROCS(procs)
	}
	c.fn(b)
	if b.check != b.want {
		fail(c.name, fmt.Sprintf("wrong result %d, not %d", b.check, b.want))
	}
	fmt.Printf("case=%s n=%d procs=%d ns_per_op=%.3f rss_kb=%d check=%d%s\n",
		c.name, b.n, runtime.GOMAXPROCS(0), float64(b.elapsed.Nanoseconds())/float64(b.ops),
		peakRSS(), b.check, b.extra)
}
