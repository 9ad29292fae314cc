# Every target works from a clean clone: scripts/setup installs what it needs.
.DEFAULT_GOAL := help
.PHONY: help build demo docs test test-flux bench sanitize fuzz soak wheel lint clean

help:
	@echo "make build     compile the C library alone, in build/core"
	@echo "make docs      the documentation site in build/docs, warnings are errors"
	@echo "make demo      emcee and pipefunc on executorlib, with times"
	@echo "make test      the C tests, then the Python tests"
	@echo "make test-flux the tests on Flux: flux start --test-size=2 make test-flux"
	@echo "make bench     the benchmark table and plot"
	@echo "make sanitize  the tests under ASan, UBSan and TSan"
	@echo "make fuzz      each fuzz target for a minute"
	@echo "make soak      a long mixed run that watches memory, descriptors and processes"
	@echo "make wheel     source distribution and self-contained wheel in dist/"
	@echo "make lint      formatting and static checks"
	@echo "make clean     remove build/ and dist/"

build:
	@scripts/setup core
	@scripts/build-core build/core

demo docs test test-flux bench sanitize fuzz soak wheel lint:
	@scripts/$@

clean:
	rm -rf build dist
