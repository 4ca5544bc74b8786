# gor.h needs no building: this runs the demo, the tests and the benchmarks. Output goes to build/.
CC     ?= cc
CFLAGS ?= -O2
TREE   ?= /usr/include
GO     ?= go

variants := $(shell tests/matrix.sh --list)
examples := $(patsubst examples/%.c,build/examples/%,$(wildcard examples/*.c))

.PHONY: help demo check $(variants:%=check-%) examples bench scale amalgamate clean

help:
	@echo 'make demo          count the words of a tree, prove the answer; 100,000 goroutines in a ring'
	@echo '                   TREE=$(TREE) is the tree'
	@echo 'make check         every variant of the tests whose tools are here; CI=true: a skip fails'
	@echo 'make check-NAME    one variant:'
	@echo '$(variants)' | fold -s -w 76 | sed 's/^/                   /'
	@echo '                   SEED=n replays check-stress, ONLY=name runs one test program'
	@echo 'make examples      build/examples/*'
	@echo 'make bench         gor.h against Go and plain threads; ARGS="--cases fib,mutex --runs 3"'
	@echo 'make scale         memory and time of goroutines by the million, with Go beside; needs 6 GB'
	@echo 'make amalgamate    write gor.h from src/'
	@echo 'make clean         remove build/'

demo: build/examples/wordcount build/examples/ring
	build/examples/wordcount $(TREE)
	examples/wordcount_check.sh build/examples/wordcount $(TREE)
	build/examples/ring

check:
	@tests/matrix.sh $(variants)

$(variants:%=check-%): check-%:
	@tests/matrix.sh $*

examples: $(examples)

build/examples/%: examples/%.c gor.h
	@mkdir -p $(@D)
	$(CC) -std=c11 $(CFLAGS) -I. $< -o $@ -pthread $(LDFLAGS)

build/bench/gor: bench/bench.c gor.h
	@mkdir -p $(@D)
	$(CC) -O3 -std=c11 -I. $< -o $@ -pthread

build/bench/floor: bench/floor.c
	@mkdir -p $(@D)
	$(CC) -O3 -std=c11 $< -o $@ -pthread

build/bench/go: bench/go/main.go
	@mkdir -p $(@D)
	cd bench/go && $(GO) build -o ../../$@ .

bench: build/bench/gor build/bench/floor $(if $(shell command -v $(GO)),build/bench/go)
	bench/run.py $(ARGS)

build/bench/scale: tests/scale.c tests/test.h gor.h
	@mkdir -p $(@D)
	$(CC) -O2 -std=c11 -D_GNU_SOURCE -I. $< -o $@ -pthread

build/bench/memory-go: bench/memory.go
	@mkdir -p $(@D)
	$(GO) build -o $@ $<

scale: build/bench/scale $(if $(shell command -v $(GO)),build/bench/memory-go)
	GORTEST_MANY=1000000 GORTEST_LIMIT=900 build/bench/scale
	test ! -x build/bench/memory-go || build/bench/memory-go 1000000 1
	test ! -x build/bench/memory-go || build/bench/memory-go 1000000 2

amalgamate:
	./amalgamate.py

clean:
	rm -rf build
