package crash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/trebuchet-update/tbupdate/lab/listing"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// booted is what a machine boots.
type booted struct {
	system *system
	trial  bool
}

func (b booted) String() string {
	if b.trial {
		return b.system.version + onTrial
	}
	return b.system.version
}

// powerOn lets the boot loader start the machine, and makes sure that what it starts is whole: a kernel
// of one of the systems, its initial RAM disk, and a root that has all of that system and the modules of
// that kernel.
func (m *machine) powerOn(ctx context.Context, d *disk) (booted, error) {
	s, err := m.loader.start(ctx, d)
	if err != nil {
		return booted{}, err
	}
	m.arguments = s.arguments
	root, err := pinned(s.arguments)
	if err != nil {
		return booted{}, err
	}
	b := booted{trial: strings.Contains(s.arguments, "tbupdate.trial=1")}
	err = loopback.Mounted(d.root, loopback.Btrfs, func(top string) error {
		got, err := listing.Of(top)
		if err != nil {
			return err
		}
		if b.system, err = m.which(top); err != nil {
			return err
		}
		if found := listing.Differences(b.system.files, got); len(found) > 0 {
			return fmt.Errorf("its root, of version %s, is not whole: %s", b.system.version, listing.Few(found))
		}
		return nil
	}, "ro", root)
	switch {
	case err != nil:
		return b, fmt.Errorf("what it boots by %q: %w", s.arguments, err)
	case s.image != b.system.image:
		return b, fmt.Errorf("it boots another kernel than that of its root, version %s", b.system.version)
	case s.initrd != b.system.initrd:
		return b, fmt.Errorf("it boots another initial RAM disk than that of its root, version %s", b.system.version)
	}
	return b, nil
}

// pinned gives the mount option of the root that a kernel's arguments name.
func pinned(arguments string) (string, error) {
	for field := range strings.FieldsSeq(arguments) {
		if flags, ok := strings.CutPrefix(field, "rootflags="); ok {
			for option := range strings.SplitSeq(flags, ",") {
				if strings.HasPrefix(option, "subvol") {
					return option, nil
				}
			}
		}
	}
	return "", fmt.Errorf("no root is pinned by %q", arguments)
}

// which gives the system that a root says it is.
func (m *machine) which(top string) (*system, error) {
	content, err := os.ReadFile(filepath.Join(top, "etc/os-release"))
	if err != nil {
		return nil, err
	}
	for _, s := range m.systems {
		if strings.Contains(string(content), fmt.Sprintf("VERSION_ID=%q\n", s.version)) {
			return s, nil
		}
	}
	return nil, fmt.Errorf("its root is of no system that is known: %q", content)
}

// judge sees what a disk is after the power went: it boots one of what is allowed, recover brings it to where
// nothing is in between, a second recover changes nothing, and the next update goes through. It gives
// what is booted first.
func (m *machine) judge(ctx context.Context, allowed []string) (was string, err error) {
	err = attached(m.image, func(d *disk) error {
		b, err := m.powerOn(ctx, d)
		if err != nil {
			return err
		}
		was = b.String()
		return errors.Join(m.allowed(b, allowed), m.goesOn(ctx, d, b))
	})
	return was, err
}

func (m *machine) allowed(b booted, allowed []string) error {
	for _, one := range allowed {
		if one == b.String() {
			return nil
		}
	}
	return fmt.Errorf("it boots %s, and should boot %s", b, strings.Join(allowed, " or "))
}

// goesOn sees whether the machine goes on from what it booted.
func (m *machine) goesOn(ctx context.Context, d *disk, b booted) error {
	if strings.Contains(m.arguments, "subvol="+installed) { // it was not taken into the layout yet
		if _, err := m.must(ctx, d, "init"); err != nil {
			return err
		}
		return m.boots(ctx, d, first)
	}
	if err := m.comesUp(ctx, d, b); err != nil {
		return err
	}
	if err := makeRoom(d); err != nil {
		return err
	}
	return m.next(ctx, d, b)
}

// comesUp runs recover, as a machine does that comes up: it leads to where nothing is in between, and a second
// one changes nothing.
func (m *machine) comesUp(ctx context.Context, d *disk, b booted) error {
	if _, err := m.must(ctx, d, "recover"); err != nil {
		return err
	}
	first, err := m.contents(d)
	if err != nil {
		return err
	}
	if _, err := m.must(ctx, d, "recover"); err != nil {
		return fmt.Errorf("the second time: %w", err)
	}
	second, err := m.contents(d)
	if err != nil {
		return err
	}
	if found := listing.Differences(first, second); len(found) > 0 {
		return fmt.Errorf("a second recover changed something: %s", listing.Few(found))
	}
	s, err := m.status(ctx, d)
	if err != nil {
		return err
	}
	if b.trial != (s.State == "trial") || !b.trial && s.State != "idle" {
		return fmt.Errorf("it booted %s, and after recover its state is %q", b, s.State)
	}
	return nil
}

// next confirms a trial, or updates to the next system.
func (m *machine) next(ctx context.Context, d *disk, b booted) error {
	if !b.trial {
		to := following[b.system.version]
		// What fell back is known to have failed.
		if _, err := m.must(ctx, d, "apply", "--force", m.bundle(to)); err != nil {
			return err
		}
		if err := m.boots(ctx, d, to+onTrial); err != nil {
			return err
		}
		if _, err := m.must(ctx, d, "recover"); err != nil {
			return err
		}
		b.system = m.systems[to]
	}
	if _, err := m.must(ctx, d, "confirm"); err != nil {
		return err
	}
	return m.boots(ctx, d, b.system.version)
}

// boots starts the machine, which has to boot that.
func (m *machine) boots(ctx context.Context, d *disk, want string) error {
	b, err := m.powerOn(ctx, d)
	if err != nil {
		return err
	}
	return m.allowed(b, []string{want})
}

// contents lists all that is on /boot and, but for the roots' own trees, on the volume.
func (m *machine) contents(d *disk) (map[string]string, error) {
	all := map[string]string{}
	if err := d.unmount(); err != nil { // nothing can be mounted read-only that is mounted writable
		return nil, err
	}
	err := loopback.Mounted(d.boot, loopback.Ext4, func(top string) error {
		lines, err := listing.Of(top)
		for path, line := range lines {
			all["boot/"+path] = line
		}
		return err
	}, "ro")
	if err != nil {
		return nil, err
	}
	return all, loopback.Mounted(d.root, loopback.Btrfs, func(top string) error {
		lines, err := listing.Of(top)
		for path, line := range lines {
			all["volume/"+path] = line
		}
		return err
	}, "ro", "subvolid=5")
}
