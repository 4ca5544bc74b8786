# gor.h needs no building: this runs the demo, the tests and the benchmarks. Output goes to build/.
CC     ?= cc
CFLAGS ?= -O2
TREE   ?= /usr/include
GO     ?= go

variants := $(shell tests/matrix.sh --list)
servers  := build/examples/httpd build/examples/scrape build/examples/pgquery
examples := $(filter-out $(servers),$(patsubst examples/%.c,build/examples/%,$(wildcard examples/*.c)))

# llhttp, the HTTP parser of Node.js, as the Python package httptools carries it.
llhttp   := build/llhttp
httptools := httptools==0.9.0 \
    --hash=sha256:d484ebb7e3a3f3597b0f645fbd1b85633674ca808c1f5ba11c2caf7c66f5c8b6

.PHONY: help demo check $(variants:%=check-%) examples network bench bench-http amalgamate clean

help:
	@echo 'make demo          count the words of a tree, prove the answer; 100,000 goroutines in a ring'
	@echo '                   TREE=$(TREE) is the tree'
	@echo 'make check         every variant of the tests whose tools are here; CI=true: a skip fails'
	@echo 'make check-NAME    one variant:'
	@echo '$(variants)' | fold -s -w 76 | sed 's/^/                   /'
	@echo '                   SEED=n replays check-stress, ONLY=name runs one test program'
	@echo 'make examples      build/examples/*'
	@echo 'make network       the examples that serve and fetch; those whose libraries are here'
	@echo 'make bench-http    httpd against a bare epoll server and Go, by wrk; echo against Go'
	@echo 'make bench         gor.h against Go and plain threads; ARGS="--cases fib,mutex --runs 3"'
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

bench-http: network
	bench/http.py $(ARGS)

amalgamate:
	./amalgamate.py

clean:
	rm -rf build
