// The same as bench/echo.c.  usage: echo tcp|unix CONNECTIONS ROUND-TRIPS
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strconv"
	"sync"
	"time"
)

const size, room = 64, 4096

func serve(c net.Conn) {
	defer c.Close()
	buf := make([]byte, room)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return
		}
	}
}

func main() {
	network := os.Args[1]
	n, _ := strconv.Atoi(os.Args[2])
	rounds, _ := strconv.Atoi(os.Args[3])
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = fmt.Sprintf("@gor-echo-go-%d", os.Getpid())
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				log.Fatal(err)
			}
			go serve(c)
		}
	}()
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i], err = net.Dial(network, l.Addr().String())
		if err != nil {
			log.Fatal(err)
		}
	}
	each := rounds / n
	var wg sync.WaitGroup
	begin := time.Now()
	for _, c := range conns {
		wg.Add(1)
		go func() {
			defer wg.Done()
			buf := make([]byte, room)
			for i := 0; i < each; i++ {
				if _, err := c.Write(buf[:size]); err != nil {
					log.Fatal(err)
				}
				if _, err := io.ReadAtLeast(c, buf, size); err != nil {
					log.Fatal(err)
				}
			}
		}()
	}
	wg.Wait()
	fmt.Printf("%.1f\n", float64(time.Since(begin).Nanoseconds())/float64(each*n))
}
