# Trebuchet Update. "make help" lists the targets.

PREFIX   = /usr
DESTDIR  =
FUZZTIME = 30s
FUZZJOBS = $(shell nproc)
PAIRS    = all
STATES   = 24
BOOT     = 1
# A test that waits for ever is a failure; the slowest package takes minutes.
TESTFLAGS = -timeout 40m

# What tests, demonstration and checks run, by Debian package.
PACKAGES = acl attr btrfs-progs e2fsprogs extlinux fdisk grub-common grub-emu jq kmod libzstd-dev lz4 mmdebstrap mount openssl \
           protobuf-compiler shellcheck syslinux-common systemd util-linux zstd $(LABPACKAGES)
# What the machines of the lab, and their disks, are made of.
LABPACKAGES = busybox-static cpio device-tree-compiler dosfstools grub-efi-amd64-bin grub-pc-bin libubootenv-tool \
              mtools ovmf qemu-system-arm qemu-system-x86 qemu-utils systemd-boot-efi u-boot-qemu u-boot-tools
# What make bench-peers measures beside.
PEERPACKAGES = casync ostree rsync
# What builds the U-Boot that counts (lab/uboot), which only test-full needs.
FULLPACKAGES = bison dpkg-dev flex gcc-aarch64-linux-gnu libssl-dev

# The EFI drivers by which systemd-boot reads ext are in Debian's package refind, which
# makes itself the boot manager of a machine where it is installed: it is unpacked only.
REFIND = build/cache/refind

# Programs for another processor ("make build GOARCH=arm64", "GOARCH=arm GOARM=7") go
# into a folder of their own.
BIN = bin$(if $(GOARCH),/$(GOARCH)$(if $(GOARM),v$(GOARM)))

# Static programs without paths of the building machine in them.
GOBUILD  = CGO_ENABLED=0 $(if $(GOARCH),GOARCH=$(GOARCH) GOARM=$(GOARM)) go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)'
# tbdiff packs best with libzstd, where that is installed, and stays a static program.
LIBZSTD  = $(if $(GOARCH),,$(shell cc -E -include zstd.h -x c /dev/null >/dev/null 2>&1 && echo libzstd))
GOBUILD_libzstd = CGO_ENABLED=1 go build -trimpath -tags libzstd,netgo,osusergo \
	-ldflags '-s -w -X main.version=$(VERSION) -linkmode external -extldflags -static'
# What was committed after a release is newer than that, and older than the next one.
RELEASE  = 0.1.0
VERSION := $(RELEASE)$(shell git describe --exact-match --tags v$(RELEASE) >/dev/null 2>&1 || git describe --exclude '*' --always --dirty --abbrev=12 2>/dev/null | sed 's/^/^/')

# Programs by where their sources are: cmd/NAME, plugins/NAME. PLUGINS maps the
# latter to what the updater looks for, tbupdate-KIND-NAME.
PROGRAMS     = $(notdir $(patsubst %/,%,$(dir $(wildcard cmd/*/main.go))))
PLUGINS      = $(foreach p,btrfs:fs zfs:fs extboot:boot flashkernel:boot,$(if $(wildcard plugins/$(firstword $(subst :, ,$p))/main.go),$p))
plugin-name  = tbupdate-$(lastword $(subst :, ,$1))-$(firstword $(subst :, ,$1))
LINKS        = $(if $(filter tbdiff,$(PROGRAMS)),tbdiff-create tbdiff-deploy)

# Between the commands that foreach makes, so that each is a line of its recipe.
define newline


endef

SCRIPTS = .ci/run demo/boot demo/run demo/trees \
          system/tbupdate-rc system/initramfs-tools/hooks/tbupdate system/initramfs-tools/scripts/init-top/tbupdate \
          system/initramfs-tools/scripts/init-bottom/tbupdate

.DELETE_ON_ERROR:
.PHONY: help build install demo test test-full crash crash-full lab lint bench bench-peers fuzz fuzz-keep generate deps root clean distclean

help:
	@echo 'make build      programs into bin/, plugins into bin/plugins/; with GOARCH=arm64, or'
	@echo '                GOARCH=arm GOARM=7, into bin/arm64 or bin/armv7'
	@echo 'make install    into $$(DESTDIR)$$(PREFIX), here $(DESTDIR)$(PREFIX)'
	@echo 'make demo       update a Debian disk image, twice, and look at it; then boot it in a'
	@echo '                virtual machine and update that; BOOT=0 leaves this out (root)'
	@echo 'make test       all tests, with the race detector (root)'
	@echo 'make test-full  the same with every variation, and every fuzz target for a while (root)'
	@echo 'make crash      cut the power at some of the instants of all that the updater does, on recorded'
	@echo '                disks; crash-full for STATES of each case, here $(STATES), 0 for all, and machines that'
	@echo '                really boot, which takes hours (root)'
	@echo 'make lab        the main stories of machines that really boot, with times;'
	@echo '                PLATFORM=grub for one kind of machine only (root)'
	@echo 'make lint       gofmt, go vet, staticcheck, shellcheck'
	@echo 'make bench      create and apply against cat and cp (root)'
	@echo 'make bench-peers  updates of several kinds, made and carried out by tbdiff and by other'
	@echo '                tools; PAIRS=security,next for some of them only, PUBLISH=docs for'
	@echo '                docs/benchmarks.md, CLASSIC=DIR where the classic programs are (root)'
	@echo 'make fuzz       each fuzz target for FUZZTIME, here $(FUZZTIME), FUZZJOBS at a time; fuzz-keep adds'
	@echo '                what was found to the corpora that it begins with'
	@echo 'make generate   the generated Go code of the wire contract'
	@echo 'make deps       install the Debian packages that these need (root)'
	@echo 'make clean      remove what was built; distclean removes downloads too'

build:
	@mkdir -p $(BIN)/plugins
	$(foreach p,$(PROGRAMS),$(GOBUILD$(and $(filter tbdiff,$p),$(LIBZSTD:%=_%))) -o $(BIN)/$p ./cmd/$p$(newline))
	$(foreach p,$(PLUGINS),$(GOBUILD) -o $(BIN)/plugins/$(call plugin-name,$p) ./plugins/$(firstword $(subst :, ,$p))$(newline))
	$(foreach l,$(LINKS),ln -sf tbdiff $(BIN)/$l$(newline))

# The updater refuses a plugin that others could write to: modes are set here and
# do not depend on a umask. What calls the updater at boot comes along: units for
# systemd, a script for other init systems, a hook for the initramfs.
INITRAMFS = $(DESTDIR)$(PREFIX)/share/initramfs-tools
install: build
	umask 022 && install -d -m 755 $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/tbupdate/plugins \
		$(DESTDIR)$(PREFIX)/lib/systemd/system/systemd-bless-boot.service.d $(DESTDIR)$(PREFIX)/lib/systemd/system-preset \
		$(INITRAMFS)/hooks $(INITRAMFS)/scripts/init-top $(INITRAMFS)/scripts/init-bottom
	for unit in system/*.service; do \
		sed 's|/usr/bin/|$(PREFIX)/bin/|' $$unit >$(DESTDIR)$(PREFIX)/lib/systemd/system/$${unit#*/} && \
		chmod 644 $(DESTDIR)$(PREFIX)/lib/systemd/system/$${unit#*/} || exit 1; done
	install -m 644 system/systemd-bless-boot.service.d/tbupdate.conf $(DESTDIR)$(PREFIX)/lib/systemd/system/systemd-bless-boot.service.d/
	install -m 644 system/80-tbupdate.preset $(DESTDIR)$(PREFIX)/lib/systemd/system-preset/
	install -m 755 system/tbupdate-rc $(DESTDIR)$(PREFIX)/lib/tbupdate/
	install -m 755 system/initramfs-tools/hooks/tbupdate $(INITRAMFS)/hooks/
	install -m 755 system/initramfs-tools/scripts/init-top/tbupdate $(INITRAMFS)/scripts/init-top/
	install -m 755 system/initramfs-tools/scripts/init-bottom/tbupdate $(INITRAMFS)/scripts/init-bottom/
	install -m 755 $(PROGRAMS:%=$(BIN)/%) $(DESTDIR)$(PREFIX)/bin/
	$(foreach p,$(PLUGINS),install -m 755 $(BIN)/plugins/$(call plugin-name,$p) $(DESTDIR)$(PREFIX)/lib/tbupdate/plugins/$(newline))
	$(foreach l,$(LINKS),ln -sf tbdiff $(DESTDIR)$(PREFIX)/bin/$l$(newline))

demo: root deps build
	@BOOT=$(BOOT) demo/run

# The stories of the lab come last and alone: a machine whose processor is emulated
# needs the real one for itself.
STORIES    = ./lab/scenario
OTHERTESTS = $$(go list ./... | grep -v '/lab/scenario$$')

test: root deps
	go test -race -tags '$(LIBZSTD)' $(TESTFLAGS) $(OTHERTESTS)
	go test -race -count=1 $(TESTFLAGS) $(STORIES)

test-full: PACKAGES += $(FULLPACKAGES)
test-full: root deps
	go test -race -tags 'full $(LIBZSTD)' -timeout 90m $(OTHERTESTS)
	go test -race -count=1 -tags full -timeout 180m -v $(STORIES)
	$(MAKE) fuzz

# Every loss of power that the updater may meet, on recorded disks. The short run is one of
# the tests.
CRASH = ./lab/powercut ./lab/crash

crash: root deps
	go test -race -count=1 $(TESTFLAGS) -v $(CRASH)

crash-full: PACKAGES += $(FULLPACKAGES)
crash-full: root deps
	go run ./lab crash -torn 2 -most $(STATES) -publish '$(PUBLISH)'
	go test -race -count=1 -timeout 1200m -v $(STORIES) -lab=crash -run 'TestScenarios/machines/^crash-'

lab: root deps
	go test -race -count=1 -timeout 60m -v $(STORIES) -lab=core $(if $(PLATFORM),-lab.platform=$(PLATFORM))

lint:
	@unformatted=$$(git ls-files '*.go' | xargs gofmt -l); \
	if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	go vet -tags '$(LIBZSTD)' ./...
	go tool staticcheck -tags '$(LIBZSTD)' ./...
	shellcheck $(wildcard $(SCRIPTS))

bench-peers: PACKAGES += $(PEERPACKAGES)
bench-peers: root deps build
	unshare --mount --propagation private go run ./bench -pairs $(PAIRS) -classic '$(CLASSIC)' -publish '$(PUBLISH)'

bench: root deps build
	unshare --mount --propagation private go run ./bench

# go test fuzzes one target of one package at a time; the targets are found by
# name, and FUZZJOBS of them are fuzzed side by side. The first failure ends it. What
# earlier runs found is where it begins; fuzz-keep adds what this machine has found since.
# The time ends by SIGINT: with -fuzztime, Go before 1.27 may call the end of it a failure
# (golang/go issue 75804).
CORPUS = .ci/fuzz-corpus.tar.zst

fuzz:
	@mkdir -p "$$(go env GOCACHE)/fuzz" && tar -I zstd --skip-old-files -xf $(CORPUS) -C "$$(go env GOCACHE)/fuzz"
	@git grep -oE '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go' | sed -E 's|/[^/]*:func | |' | \
	xargs -P $(FUZZJOBS) -n 2 sh -c ' \
		output=$$(go test -run "^$$" -fuzz "^$$1\$$" -exec "timeout --foreground --preserve-status --signal INT $(FUZZTIME)" -fuzzminimizetime 10x -parallel 1 "./$$0" </dev/null 2>&1) && status=0 || status=255; \
		printf "%s %s\n%s\n" "$$0" "$$1" "$$output"; \
		exit $$status'

fuzz-keep:
	tar -I 'zstd -19' --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner \
		-C "$$(go env GOCACHE)/fuzz" -cf $(CURDIR)/$(CORPUS) "$$(go list -m)"

generate: deps
	go generate ./sdk/...

$(REFIND):
	@echo unpacking refind
	@rm -rf $@.new && mkdir -p $@.new
	@cd $@.new && { apt-get download -qq refind || { apt-get update -qq && apt-get download -qq refind; }; } && dpkg-deb -x refind_*.deb . && rm refind_*.deb
	@mv $@.new $@

deps: $(REFIND)
	@missing=$$(for p in $(PACKAGES); do \
		dpkg-query -W -f '$${db:Status-Status}' $$p 2>/dev/null | grep -qx installed || echo $$p; done); \
	[ -z "$$missing" ] && exit 0; \
	if [ "$$(id -u)" != 0 ]; then echo "missing packages, install them as root:" $$missing >&2; exit 1; fi; \
	echo "installing" $$missing; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get update -qq && apt-get install -qq -y --no-install-recommends $$missing >/dev/null </dev/null

root:
	@[ "$$(id -u)" = 0 ] || { echo "this needs root: it mounts filesystems on loop devices (sudo make $(MAKECMDGOALS))" >&2; exit 1; }

clean:
	rm -rf bin
	find build -mindepth 1 -maxdepth 1 ! -name cache -exec rm -rf {} + 2>/dev/null || true

distclean: clean
	rm -rf build
