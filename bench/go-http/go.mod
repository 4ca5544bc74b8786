module gor.h/bench/go-http

go 1.21
