package crash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// rot is that the disk loses bytes of something after an update was applied, before the machine starts again.
type rot struct {
	name string
	// of is the version of the system that they belong to, and in are the parts of the disk, as first and end
	// byte, that have them.
	of string
	in [2]int64
	// seen sees what becomes of it, and gives what the machine boots first.
	seen func(m *machine, ctx context.Context, d *disk) (boots string, err error)
}

var (
	inBoot   = [2]int64{bootStart, rootStart}
	inVolume = [2]int64{rootStart, stateStart}
)

// rots are all of them.
var rots = []rot{
	{"the new kernel rots in /boot", second, inBoot, (*machine).givesUp},
	{"the new tree rots", second, inVolume, (*machine).givesUp},
	{"the old kernel rots in /boot", first, inBoot, (*machine).mends},
}

// rotten are what of a system rots.
func rotten(s *system) []string {
	return []string{"boot/vmlinuz-" + s.kernel, "boot/initrd.img-" + s.kernel, "usr/lib/modules/" + s.kernel + "/kernel/a.ko"}
}

// begin gives every file that may rot, at its begin, in its middle and at its end.
func (r rot) begin(ctx context.Context, m *machine, o Options) (happening, error) {
	if err := m.prepare(ctx, workload{prepare: append(settled[:len(settled):len(settled)], applies(second))}, o.Seed); err != nil {
		return happening{}, fmt.Errorf("cannot prepare the machine: %w", err)
	}
	h, base := happening{end: func() error { return nil }}, m.image
	for _, path := range rotten(m.systems[r.of]) {
		if r.in == inBoot && !strings.HasPrefix(path, "boot/") {
			continue
		}
		for _, part := range []int{0, 1, 2} {
			h.ways = append(h.ways, m.wayOf(fmt.Sprintf("%s, part %d", path, part), func(ctx context.Context, m *machine) (boots string, err error) {
				if err := copyDisk(ctx, base, m.image); err != nil {
					return "", err
				}
				if err := m.lose(r, path, part); err != nil {
					return "", err
				}
				err = attached(m.image, func(d *disk) error {
					boots, err = r.seen(m, ctx, d)
					return err
				})
				return boots, err
			}))
		}
	}
	return h, nil
}

// rotSize is the size of what is looked for on the disk, in bytes: all systems' files are made of larger blocks.
const rotSize = 512

// lose changes a byte of a file wherever the disk has it.
func (m *machine) lose(r rot, path string, part int) error {
	content, err := os.ReadFile(filepath.Join(m.systems[r.of].tree, path))
	if err != nil {
		return err
	}
	at := (len(content) - rotSize) / 2 * part / rotSize * rotSize
	piece := content[at : at+rotSize]
	file, err := os.OpenFile(m.image, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	all := make([]byte, r.in[1]-r.in[0])
	if _, err := file.ReadAt(all, r.in[0]); err != nil {
		return err
	}
	found := false
	for from := 0; ; {
		i := bytes.Index(all[from:], piece)
		if i < 0 {
			break
		}
		found = true
		if _, err := file.WriteAt([]byte{^piece[0]}, r.in[0]+int64(from+i)); err != nil {
			return err
		}
		from += i + 1
	}
	if !found {
		return fmt.Errorf("the disk does not have byte %d of %q", at, path)
	}
	return nil
}

// isFound makes sure that check says what rotted.
func (m *machine) isFound(ctx context.Context, d *disk) error {
	a, err := m.tbupdate(ctx, d, nil, "check", "--verify", "full")
	if err == nil {
		err = a.mustBe(1)
	}
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	return nil
}

// nothing is what a machine boots whose kernel does not come up. Somebody, or a watchdog, starts it again.
const nothing = "nothing"

// givesUp sees a trial whose files rotted: check says so, and when the loader boots it nevertheless it does not come
// up or is not confirmed, and the machine comes back.
func (m *machine) givesUp(ctx context.Context, d *disk) (string, error) {
	if err := m.isFound(ctx, d); err != nil {
		return "", err
	}
	s, err := m.loader.start(ctx, d)
	boots := first
	if err != nil {
		boots = nothing
	} else if strings.Contains(s.arguments, "tbupdate.trial=1") {
		m.arguments, boots = s.arguments, second+onTrial
		if _, err := m.must(ctx, d, "recover"); err != nil {
			return boots, err
		}
		a, err := m.tbupdate(ctx, d, nil, "confirm", "--check", "--no-reboot")
		if err == nil {
			err = a.mustBe(1)
		}
		if err != nil {
			return boots, fmt.Errorf("confirm: %w", err)
		}
	}
	b, err := m.powerOn(ctx, d)
	if err != nil {
		return boots, err
	}
	return boots, errors.Join(m.allowed(b, []string{first}), m.goesOn(ctx, d, b))
}

// mends sees a trial that runs while the kernel to come back to rotted: check says so, recover puts it
// right, and the machine comes back to it.
func (m *machine) mends(ctx context.Context, d *disk) (string, error) {
	if err := m.isFound(ctx, d); err != nil {
		return "", err
	}
	b, err := m.powerOn(ctx, d)
	if err != nil {
		return "", err
	}
	if err := errors.Join(m.allowed(b, []string{second + onTrial}), m.comesUp(ctx, d, b)); err != nil {
		return b.String(), err
	}
	back, err := m.powerOn(ctx, d)
	if err != nil {
		return b.String(), err
	}
	return b.String(), errors.Join(m.allowed(back, []string{first}), m.goesOn(ctx, d, back))
}
