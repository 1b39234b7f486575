package crash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/lab/powercut"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// trouble is what a machine has while an update is applied, by degrees from the worst, 0, to none. The power
// does not go.
type trouble struct {
	name    string
	degrees int
	// apply applies the update in the trouble, and says what the machine may boot then.
	apply func(ctx context.Context, m *machine, degree int) (allowed []string, err error)
}

// noRoom is the updater's exit code when there is not enough.
const noRoom = 4

// troubles are all of them.
var troubles = []trouble{
	{"little room on the volume", 24, full(func(d *disk, degree int) error { return fill(d, int64(degree)<<22) }, makeRoom)},
	{"little room in /boot", 24, full(func(d *disk, degree int) error { return fillBoot(d, int64(degree)<<20) }, makeRoomInBoot)},
	{"little room for metadata", 16, full(fillMetadata, makeRoom)},
	{"quota groups and little room", 12, full(fillUnderQuota, makeRoom)},
	{"a disk that fails", 8, onFailingDisk},
	{"a /boot that becomes read-only", 8, onReadOnlyBoot},
}

// full has an update applied between begin and end: it goes through, or it says that there is no room.
func full(begin func(d *disk, degree int) error, end func(d *disk) error) func(context.Context, *machine, int) ([]string, error) {
	return func(ctx context.Context, m *machine, degree int) (allowed []string, err error) {
		allowed = []string{first}
		err = attached(m.image, func(d *disk) error {
			if err := begin(d, degree); err != nil {
				return fmt.Errorf("cannot make it: %w", err)
			}
			a, err := m.tbupdate(ctx, d, nil, "apply", m.bundle(second))
			if err != nil {
				return err
			}
			if a.exit == 0 {
				allowed = []string{second + onTrial}
			} else if err := a.mustBe(noRoom); err != nil {
				return err
			}
			return end(d)
		})
		return allowed, err
	}
}

// onFailingDisk has an update applied on a disk that fails for good when a part of it has come.
func onFailingDisk(ctx context.Context, m *machine, degree int) ([]string, error) {
	directory, err := os.MkdirTemp(m.work, "failing-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(directory)
	recording, err := powercut.Record(ctx, m.image, directory)
	if err != nil {
		return nil, err
	}
	stopped := false
	err = attached(recording.Path, func(d *disk) error {
		return m.appliesInPart(ctx, d, degree, func() error {
			stopped = true
			return recording.Stop()
		})
	})
	if !stopped {
		err = errors.Join(err, recording.Stop())
	}
	return []string{first}, err
}

// appliesInPart has an update applied that cannot be done: when so many eighths of it have come something happens.
func (m *machine) appliesInPart(ctx context.Context, d *disk, eighths int, happens func() error) error {
	content, err := os.ReadFile(m.bundle(second))
	if err != nil {
		return err
	}
	part := len(content) * eighths / 8
	a, err := m.tbupdate(ctx, d, func(stdin io.WriteCloser, _ *os.Process) error {
		if _, err := stdin.Write(content[:part]); err != nil {
			return err
		}
		if err := happens(); err != nil {
			return err
		}
		_, _ = stdin.Write(content[part:]) // the updater may be gone before it has all
		return stdin.Close()
	}, "apply", "--full", "-")
	if err == nil && a.exit == 0 {
		err = errors.New("it says that it is done")
	}
	return err
}

// onReadOnlyBoot has an update applied, and when a part of it has come somebody else makes /boot read-only. Of the
// volume that cannot be had here: the kernel refuses while a file of it is written. A story has it (read-only).
func onReadOnlyBoot(ctx context.Context, m *machine, degree int) ([]string, error) {
	return []string{first}, attached(m.image, func(d *disk) error {
		if err := m.configure(ctx, d); err != nil { // mounts what the machine has mounted before
			return err
		}
		return loopback.Mounted(d.boot, loopback.Ext4, func(top string) error {
			return m.appliesInPart(ctx, d, degree, func() error { return remountReadOnly(ctx, top) })
		})
	})
}

// remountReadOnly makes a filesystem read-only, as soon as nobody writes to it.
func remountReadOnly(ctx context.Context, top string) error {
	const attempts, pause = 200, 20 * time.Millisecond
	for n := 1; ; n++ {
		err := unix.Mount("", top, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
		if !errors.Is(err, unix.EBUSY) || n == attempts || ctx.Err() != nil {
			return err
		}
		time.Sleep(pause)
	}
}

// begin gives the degrees of the trouble on a machine that could be updated.
func (t trouble) begin(ctx context.Context, m *machine, o Options) (happening, error) {
	if err := m.prepare(ctx, workload{prepare: settled}, o.Seed); err != nil {
		return happening{}, fmt.Errorf("cannot prepare the machine: %w", err)
	}
	h, base := happening{end: func() error { return nil }}, m.image
	for degree := range t.degrees {
		h.ways = append(h.ways, m.way(fmt.Sprintf("degree %d of %d", degree, t.degrees), func(ctx context.Context, m *machine) ([]string, error) {
			if err := copyDisk(ctx, base, m.image); err != nil {
				return nil, err
			}
			return t.apply(ctx, m, degree)
		}))
	}
	return h, nil
}

// filler is a file at the top of a filesystem that takes its room.
const filler = "filler"

// fill leaves so many bytes for data on the volume.
func fill(d *disk, free int64) error {
	return loopback.Mounted(d.root, loopback.Btrfs, func(top string) error { return fillUp(top, free) }, "subvolid=5")
}

// fillUnderQuota has btrfs count what subvolumes take, and leaves so much room.
func fillUnderQuota(d *disk, degree int) error {
	err := loopback.Mounted(d.root, loopback.Btrfs, func(top string) error {
		return run(context.Background(), "btrfs", "quota", "enable", top)
	}, "subvolid=5")
	if err != nil {
		return err
	}
	return fill(d, int64(degree)<<23)
}

func fillBoot(d *disk, free int64) error {
	return loopback.Mounted(d.boot, loopback.Ext4, func(top string) error { return fillUp(top, free) })
}

func fillUp(top string, free int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(top, &st); err != nil {
		return err
	}
	size := int64(st.Bavail)*st.Bsize - free
	if size <= 0 {
		return nil
	}
	file, err := os.Create(filepath.Join(top, filler))
	if err != nil {
		return err
	}
	return errors.Join(unix.Fallocate(int(file.Fd()), 0, 0, size), file.Close())
}

// small is a file that btrfs has in its metadata, in bytes.
const small = 2000

// fillMetadata takes all room for metadata but for so many files of it. There is room for data then, in chunks that
// btrfs has for data only.
func fillMetadata(d *disk, degree int) error {
	const each = 512
	return loopback.Mounted(d.root, loopback.Btrfs, func(top string) error {
		if err := claimChunks(top); err != nil {
			return err
		}
		directory := filepath.Join(top, filler+".d")
		if err := os.Mkdir(directory, 0o700); err != nil {
			return err
		}
		n := 0
		for ; ; n++ {
			err := os.WriteFile(filepath.Join(directory, fmt.Sprint(n)), make([]byte, small), 0o600)
			if errors.Is(err, unix.ENOSPC) {
				break
			}
			if err != nil {
				return err
			}
		}
		for i := range min(n, degree*each) {
			if err := os.Remove(filepath.Join(directory, fmt.Sprint(i))); err != nil {
				return err
			}
		}
		return nil
	}, "subvolid=5")
}

// claimChunks makes btrfs have all of the volume that is not for metadata yet in chunks for data. Half
// of each is taken: an empty one would go away again.
func claimChunks(top string) (err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(top, &st); err != nil {
		return err
	}
	taken, err := os.Create(filepath.Join(top, filler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, taken.Close()) }()
	given, err := os.Create(taken.Name() + ".given")
	if err != nil {
		return err
	}
	const part = 1 << 20
	for n := range int64(st.Bavail) * st.Bsize / (2 * part) {
		err := errors.Join(unix.Fallocate(int(taken.Fd()), 0, n*part, part), unix.Fallocate(int(given.Fd()), 0, n*part, part))
		if errors.Is(err, unix.ENOSPC) {
			break // what was said to be there is never quite there
		}
		if err != nil {
			return errors.Join(err, given.Close())
		}
	}
	return errors.Join(given.Close(), os.Remove(given.Name()), taken.Sync())
}

// makeRoom removes what fill and fillMetadata made.
func makeRoom(d *disk) error {
	return loopback.Mounted(d.root, loopback.Btrfs, removeFillers, "subvolid=5")
}

func makeRoomInBoot(d *disk) error {
	return loopback.Mounted(d.boot, loopback.Ext4, removeFillers)
}

func removeFillers(top string) error {
	return errors.Join(os.RemoveAll(filepath.Join(top, filler)), os.RemoveAll(filepath.Join(top, filler+".d")))
}
