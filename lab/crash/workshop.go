package crash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/lab/powercut"
	"github.com/trebuchet-update/tbupdate/lab/release"
)

// Workshop has what all machines need.
type Workshop struct {
	programs string             // directory with bin/ and plugins/, of this host
	systems  map[string]*system // by version
	bundles  string             // directory of the updates
	keys     string             // directory of those that machines trust
	scratch  *powercut.Scratch
}

// kernels are those of the systems, by version. Two systems with the same one differ in all else.
var kernels = map[string]string{first: "6.1.0-1", kernelOnly: "6.1.0-2", second: "6.1.0-2", third: "6.1.0-3", fourth: "6.1.0-3"}

// NewWorkshop builds the programs of the module at top, the systems, and the updates between them, in an empty
// directory. Close lets go of it.
func NewWorkshop(ctx context.Context, top, directory string) (*Workshop, error) {
	s := &Workshop{
		systems: map[string]*system{}, bundles: filepath.Join(directory, "bundles"), keys: filepath.Join(directory, "keys"),
	}
	if err := s.furnish(ctx, top, directory); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot make the workshop: %w", err), s.Close())
	}
	return s, nil
}

// Close unmounts what is mounted. The directory stays.
func (s *Workshop) Close() error {
	if s.scratch == nil {
		return nil
	}
	return s.scratch.Close()
}

func (s *Workshop) furnish(ctx context.Context, top, directory string) (err error) {
	if top, err = filepath.Abs(top); err != nil { // machines are configured with where programs are
		return err
	}
	if s.programs, err = release.HostPrograms(ctx, top); err != nil {
		return err
	}
	// Cases run side by side. What one unmounts must not stay mounted in a namespace that another has made
	// meanwhile, which therefore is a slave of this one.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("cannot share mounts with namespaces: %w", err)
	}
	scratch := filepath.Join(directory, "scratch")
	for _, path := range []string{s.bundles, s.keys, scratch} {
		if err := os.Mkdir(path, 0o700); err != nil {
			return err
		}
	}
	for version, kernel := range kernels {
		if s.systems[version], err = newSystem(filepath.Join(directory, "systems", version), version, kernel); err != nil {
			return err
		}
	}
	if err := s.deliver(ctx); err != nil {
		return err
	}
	s.scratch, err = powercut.NewScratch(ctx, scratch+".img", scratch)
	return err
}

// deliver makes the updates: to each version, from those that are updated to it.
func (s *Workshop) deliver(ctx context.Context) error {
	tbdiff, vendor := filepath.Join(s.programs, "bin/tbdiff"), filepath.Join(s.keys, "vendor")
	if err := run(ctx, tbdiff, "keys", "generate", vendor); err != nil {
		return err
	}
	for to, origins := range map[string][]string{kernelOnly: {first}, second: {first, kernelOnly}, third: {second}, fourth: {third}} {
		arguments := []string{"bundle", "create", "--product", product, "--version", to, "--level", "fast",
			"--key", vendor + ".key", "-o", s.bundle(to), "--to", s.systems[to].tree}
		for _, origin := range origins {
			arguments = append(arguments, "--from", s.systems[origin].tree)
		}
		if err := run(ctx, tbdiff, arguments...); err != nil {
			return err
		}
	}
	return nil
}

// bundle gives the file with the update to a version.
func (s *Workshop) bundle(version string) string { return filepath.Join(s.bundles, version+".tbu") }
