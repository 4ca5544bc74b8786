// The same server as bench/epoll_http.c on net.Conn: a goroutine per connection, one read, an
// answer for each end of a head.  usage: raw PORT
package main

import (
	"bytes"
	"log"
	"net"
	"os"
)

var answer = []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n" +
	"Content-Length: 13\r\n\r\nHello, World!")

func serve(c net.Conn) {
	defer c.Close()
	in := make([]byte, 8192)
	out := make([]byte, 0, 8192)
	for {
		n, err := c.Read(in)
		if err != nil {
			return
		}
		out = out[:0]
		for i := bytes.Count(in[:n], []byte("\r\n\r\n")); i > 0; i-- {
			out = append(out, answer...)
		}
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serve(c)
	}
}
