# gor.h needs no building: this runs the demo, the tests and the benchmarks. Output goes to build/.
CC     ?= cc
CXX    ?= c++
CFLAGS ?= -O2
TREE   ?= /usr/include
GO     ?= go
CARGO  ?= cargo

variants := $(shell tests/matrix.sh --list)
servers  := build/examples/httpd build/examples/scrape build/examples/pgquery
examples := $(filter-out $(servers),$(patsubst examples/%.c,build/examples/%,$(wildcard examples/*.c)))

# llhttp, the HTTP parser of Node.js, as the Python package httptools carries it.
llhttp   := build/llhttp
httptools := httptools==0.9.0 \
    --hash=sha256:d484ebb7e3a3f3597b0f645fbd1b85633674ca808c1f5ba11c2caf7c66f5c8b6

.PHONY: help demo check $(variants:%=check-%) check-avx512 examples network bench bench-http scale amalgamate clean

help:
	@echo 'make demo          count the words of a tree, prove the answer; 100,000 goroutines in a ring'
	@echo '                   TREE=$(TREE) is the tree'
	@echo 'make check         every variant of the tests whose tools are here; CI=true: skips fail'
	@echo 'make check-NAME    one variant:'
	@echo '$(variants)' | fold -s -w 76 | sed 's/^/                   /'
	@echo '                   SEED=n replays check-stress, ONLY=name runs one test program'
	@echo 'make check-avx512  the registers of AVX-512 on an emulated processor; no part of check'
	@echo 'make examples      build/examples/*'
	@echo 'make network       the examples that serve and fetch; those whose libraries are here'
	@echo 'make bench-http    httpd against a bare epoll server and Go, by wrk; echo against Go'
	@echo 'make bench         gor.h against Go and the other runtimes that are installed, 10 rounds'
	@echo '                   ARGS="--cases fib,mutex --runs 3" is quicker; bench/run.py --help'
	@echo 'make bench-setup   install those runtimes, hyperfine and matplotlib'
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

check-avx512:
	@tests/avx512.sh build/avx512

examples: $(examples)

build/examples/%: examples/%.c gor.h
	@mkdir -p $(@D)
	$(CC) -std=c11 $(CFLAGS) -I. $< -o $@ -pthread $(LDFLAGS)

# What needs a library is left out, and said so, where that is missing.
network: build/network_load build/examples/kv build/examples/proxy build/examples/chat
	@for one in $(servers); do $(MAKE) -s $$one || echo "$$one: left out"; done

build/network_load: tests/network_load.c gor.h
	@mkdir -p $(@D)
	$(CC) -std=c11 $(CFLAGS) -I. $< -o $@ -pthread $(LDFLAGS)

$(llhttp)/llhttp.h:
	@mkdir -p $(@D)
	echo '$(httptools)' >$(@D)/requirements.txt
	python3 -m pip download -q --no-deps --no-binary :all: --require-hashes \
	    -d $(@D) -r $(@D)/requirements.txt
	tar -xzf $(@D)/httptools-*.tar.gz -C $(@D) --strip-components=4 --wildcards \
	    '*/vendor/llhttp/include/*' '*/vendor/llhttp/src/*'
	touch $@

build/examples/httpd: examples/httpd.c gor.h $(llhttp)/llhttp.h
	@mkdir -p $(@D)
	$(CC) -std=c11 $(CFLAGS) -I. -I$(llhttp) $< $(llhttp)/*.c -o $@ -pthread $(LDFLAGS)

build/examples/scrape: examples/scrape.c gor.h
	@mkdir -p $(@D)
	$(CC) -std=c11 -D_GNU_SOURCE $(CFLAGS) -I. $< -o $@ -lcurl -pthread $(LDFLAGS)

build/examples/pgquery: examples/pgquery.c gor.h
	@mkdir -p $(@D)
	$(CC) -std=c11 $(CFLAGS) -I. -I/usr/include/postgresql $< -o $@ -lpq -pthread $(LDFLAGS)

# -- benchmarks: every program that can be built here, the same cases and command line each --------

BENCH_CFLAGS = -O3 -Wall -Wextra
bench_c      = $(CC) -std=c11 $(BENCH_CFLAGS)
bench_cxx    = $(CXX) -std=c++17 $(BENCH_CFLAGS)
bench_all    = gor floor threads go tokio fibers tbb openmp

build/bench/gor: bench/bench.c bench/harness.h gor.h
	@mkdir -p $(@D)
	$(bench_c) -I. $< -o $@ -pthread

build/bench/floor build/bench/threads: build/bench/%: bench/%.c bench/harness.h
	@mkdir -p $(@D)
	$(bench_c) $< -o $@ -pthread

build/bench/openmp: bench/openmp.c bench/harness.h
	@mkdir -p $(@D)
	$(bench_c) -fopenmp $< -o $@

build/bench/fibers: bench/fibers.cpp bench/harness.h
	@mkdir -p $(@D)
	$(bench_cxx) $< -o $@ -pthread -lboost_fiber -lboost_context

build/bench/tbb: bench/tbb.cpp bench/harness.h
	@mkdir -p $(@D)
	$(bench_cxx) $< -o $@ -pthread -ltbb

build/bench/go: bench/go/main.go bench/go/go.mod
	@mkdir -p $(@D)
	cd bench/go && $(GO) build -o ../../$@ .

build/bench/tokio: bench/tokio/src/main.rs bench/tokio/Cargo.toml bench/tokio/Cargo.lock
	@mkdir -p $(@D)
	cd bench/tokio && $(CARGO) build --release --locked --offline --quiet \
	    --target-dir ../../build/bench/cargo
	cp build/bench/cargo/release/bench $@

bench:
	@for program in $(bench_all); do \
	    ! CC='$(CC)' CXX='$(CXX)' GO='$(GO)' CARGO='$(CARGO)' bench/has.sh $$program || \
	        $(MAKE) --no-print-directory build/bench/$$program || exit 1; \
	done
	bench/run.py $(ARGS); status=$$?; bench/table.py; \
	    PATH="$(CURDIR)/build/bench/venv/bin:$$PATH" bench/plot.py; exit $$status

.PHONY: bench-setup
bench-setup:
	bench/setup.sh

build/bench/scale: tests/scale.c tests/test.h tests/runtime.c tests/runtime.h gor.h
	@mkdir -p $(@D)
	$(CC) -O2 -std=c11 -D_GNU_SOURCE -I. $< -o $@ -pthread

build/bench/memory-go: bench/memory.go
	@mkdir -p $(@D)
	$(GO) build -o $@ $<

# What they print is kept, for bench/scale.py.
scale: build/bench/scale $(if $(shell command -v $(GO)),build/bench/memory-go)
	@rm -f build/bench/scale.txt build/bench/scale-go.txt
	GORTEST_MANY=1000000 GORTEST_LIMIT=3600 build/bench/scale >build/bench/scale.txt; \
	    status=$$?; cat build/bench/scale.txt; exit $$status
	test ! -x build/bench/memory-go || { build/bench/memory-go 1000000 1 && \
	    build/bench/memory-go 1000000 2; } | tee build/bench/scale-go.txt
	bench/scale.py build/bench/scale*.txt

bench-http: network
	bench/http.py $(ARGS)

amalgamate:
	./amalgamate.py

clean:
	rm -rf build
