// Package uboot builds U-Boot for QEMU's ARM board such that it counts the starts of a
// trial by itself, which the distribution's build does not. What is built is the
// distribution's source, with a few lines of configuration for each environment.
package uboot

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/trebuchet-update/tbupdate/lab/cache"
	"github.com/trebuchet-update/tbupdate/lab/command"
)

// Environment is where a U-Boot keeps its environment, and in it the count.
type Environment string

// The environments. Their names are those of the files with the configuration.
const (
	// Flash is the board's second flash: one NOR sector, which is erased before it is
	// written.
	Flash Environment = "flash"
	// FAT is the file uboot.env on the first partition of the first virtio disk.
	FAT Environment = "fat"
	// Redundant are two such files, uboot.env and uboot-redund.env, written in turns.
	Redundant Environment = "redundant"
)

// Environments are all of them.
var Environments = []Environment{Flash, FAT, Redundant}

// EnvironmentSize is that of an environment in bytes: the board's CONFIG_ENV_SIZE.
const EnvironmentSize = 256 << 10

// Built are the files of a U-Boot.
type Built struct {
	Firmware string // for QEMU's option -bios
	// Variables are those that U-Boot has by itself, as libubootenv reads them where an
	// environment is lost (/etc/u-boot-initial-env).
	Variables string
}

// recipe is this package's source: what is in the cache was made by exactly it.
//
//go:embed *.go *.config
var recipe embed.FS

// Build gives the U-Boot with this environment. All are made at once, the first time,
// in a few minutes: they have most of their objects in common.
func Build(ctx context.Context, store cache.Store, environment Environment) (Built, error) {
	files, err := fs.Glob(recipe, "*")
	if err != nil {
		return Built{}, err
	}
	var parts []any
	for _, name := range files {
		text, err := recipe.ReadFile(name)
		if err != nil {
			return Built{}, err
		}
		parts = append(parts, name, string(text))
	}
	directory, err := store.Get("u-boot", cache.KeyOf(parts...), func(path string) error { return build(ctx, path) })
	if err != nil {
		return Built{}, err
	}
	built := Built{
		Firmware:  filepath.Join(directory, string(environment), firmware),
		Variables: filepath.Join(directory, string(environment), variables),
	}
	for _, path := range []string{built.Firmware, built.Variables} {
		if _, err := os.Stat(path); err != nil {
			return Built{}, fmt.Errorf("no U-Boot has the environment %q, only %q: %w", environment, Environments, err)
		}
	}
	return built, nil
}

// What is built, by the names of make's targets.
const (
	firmware  = "u-boot.bin"
	variables = "u-boot-initial-env"
)

// suite is the Debian release whose source it is: the lab's.
const suite = "bookworm"

// needs are Debian packages that only this package needs, by a file of theirs.
// FULLPACKAGES in the Makefile has them.
var needs = map[string]string{
	"/usr/bin/aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu",
	"/usr/bin/bison":                 "bison",
	"/usr/bin/dpkg-source":           "dpkg-dev",
	"/usr/bin/flex":                  "flex",
	"/usr/include/openssl/evp.h":     "libssl-dev",
}

func checkNeeds() error {
	var missing []string
	for path, name := range needs {
		if _, err := os.Stat(path); err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("this needs Debian packages that \"make test-full\" installs: %s", strings.Join(missing, ", "))
	}
	return nil
}

func build(ctx context.Context, path string) error {
	if err := checkNeeds(); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "lab-u-boot-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	source := filepath.Join(work, "source")
	if err := fetch(ctx, work, source); err != nil {
		return err
	}
	for _, environment := range Environments {
		if err := buildFor(ctx, environment, source, filepath.Join(work, "objects"), filepath.Join(path, string(environment))); err != nil {
			return fmt.Errorf("with the environment %s: %w", environment, err)
		}
	}
	return nil
}

// fetch unpacks the distribution's source. mmdebstrap knows the distribution's address
// and its keys; here it only lends apt its configuration.
func fetch(ctx context.Context, work, source string) error {
	downloads := filepath.Join(work, "downloads")
	if err := os.Mkdir(downloads, 0o755); err != nil {
		return err
	}
	_, err := command.Run(ctx, nil, "unshare", "--mount", "--propagation", "private",
		"mmdebstrap", "--quiet", "--mode=root", "--variant=custom", "--format=null",
		`--setup-hook=sed -i "s/^deb \(.*\)/&\ndeb-src \1/" "$1/etc/apt/sources.list"`,
		"--customize-hook=cd '"+downloads+`' && APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get -qq source --download-only u-boot`,
		suite, "/dev/null")
	if err != nil {
		return err
	}
	descriptions, err := filepath.Glob(filepath.Join(downloads, "*.dsc"))
	if err != nil {
		return err
	}
	if len(descriptions) != 1 {
		return fmt.Errorf("apt brought %d source packages instead of one", len(descriptions))
	}
	_, err = command.Run(ctx, nil, "dpkg-source", "--extract", descriptions[0], source)
	return err
}

// board is the configuration that the distribution builds, and that ours begins with.
const board = "qemu_arm64_defconfig"

func buildFor(ctx context.Context, environment Environment, source, objects, to string) error {
	own, err := recipe.ReadFile(string(environment) + ".config")
	if err != nil {
		return err
	}
	base, err := os.ReadFile(filepath.Join(source, "configs", board))
	if err != nil {
		return err
	}
	const name = "lab_defconfig"
	if err := os.WriteFile(filepath.Join(source, "configs", name), append(base, own...), 0o644); err != nil {
		return err
	}
	run := func(targets ...string) error {
		arguments := append([]string{"-C", source, "O=" + objects, "CROSS_COMPILE=aarch64-linux-gnu-", fmt.Sprintf("-j%d", runtime.NumCPU())}, targets...)
		_, err := command.Run(ctx, []string{"SOURCE_DATE_EPOCH=0"}, "make", arguments...)
		return err
	}
	if err := run(name); err != nil {
		return err
	}
	if err := checkConfiguration(filepath.Join(objects, ".config"), string(own)); err != nil {
		return err
	}
	if err := run(firmware, variables); err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	_, err = command.Run(ctx, nil, "cp", filepath.Join(objects, firmware), filepath.Join(objects, variables), to)
	return err
}

// checkConfiguration makes sure that what was asked for is what is configured: Kconfig
// passes over what it does not know.
func checkConfiguration(path, asked string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	configured := "\n" + string(content)
	var wrong []error
	for line := range strings.Lines(asked) {
		option := strings.HasPrefix(line, "CONFIG_") || strings.HasPrefix(line, "# CONFIG_")
		if option && !strings.Contains(configured, "\n"+line) {
			wrong = append(wrong, fmt.Errorf("this U-Boot cannot be configured with %q", strings.TrimSpace(line)))
		}
	}
	return errors.Join(wrong...)
}
