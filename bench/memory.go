// The rows of tests/scale.c for Go: memory and time of goroutines by the million.
//
//	go run bench/memory.go [N [PROCS]]
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func memory() float64 {
	text, _ := os.ReadFile("/proc/self/status")
	kb := 0.0
	for _, line := range strings.Split(string(text), "\n") {
		f := strings.Fields(line)
		if len(f) > 1 && (f[0] == "VmRSS:" || f[0] == "VmPTE:") {
			n, _ := strconv.ParseFloat(f[1], 64)
			kb += n
		}
	}
	return kb * 1024
}

func main() {
	n, procs := 1000000, 1
	if len(os.Args) > 1 {
		n, _ = strconv.Atoi(os.Args[1])
	}
	if len(os.Args) > 2 {
		procs, _ = strconv.Atoi(os.Args[2])
	}
	runtime.GOMAXPROCS(procs)
	var parked atomic.Int64
	gate := make(chan struct{})
	before, begin := memory(), time.Now()
	for i := 0; i < n; i++ {
		go func() {
			parked.Add(1)
			<-gate
		}()
	}
	started := time.Since(begin)
	for parked.Load() < int64(n) {
		time.Sleep(50 * time.Microsecond)
	}
	ready := time.Since(begin)
	fmt.Printf("# procs %d: %d parked: %.0f bytes each, %.0f ns each to start, %.0f until parked\n",
		procs, n, (memory()-before)/float64(n), float64(started.Nanoseconds())/float64(n),
		float64(ready.Nanoseconds())/float64(n))
	close(gate)
	for runtime.NumGoroutine() > 1 {
		time.Sleep(time.Millisecond)
	}
	first := 0.0
	for wave := 0; wave < 5; wave++ {
		var wg sync.WaitGroup
		for i := 0; i < 2*n; i++ {
			wg.Add(1)
			go wg.Done()
		}
		wg.Wait()
		if wave == 0 {
			first = memory()
		}
	}
	fmt.Printf("# procs %d: %d in waves: %.0f KB after the first, %.0f KB after the last\n", procs,
		10*n, first/1024, memory()/1024)
}
