package powercut

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Recording is a disk in a file, whose writes and flushes are recorded while they are made
// through Path.
type Recording struct {
	Path   string // of a file that stands for the disk
	log    string
	daemon *exec.Cmd
	stderr bytes.Buffer
	ended  chan error
}

// longestStart is how long the daemon may take to export the disk.
const longestStart = 30 * time.Second

// stopAgain is after what time it is told again to end.
const stopAgain = 200 * time.Millisecond

// Record begins to record a disk. directory is an empty one that it may use; the log is there as
// well. The disk is changed. Stop ends it.
func Record(ctx context.Context, disk, directory string) (*Recording, error) {
	size, err := sizeOf(disk)
	if err != nil {
		return nil, err
	}
	r := &Recording{Path: filepath.Join(directory, "disk"), log: filepath.Join(directory, "log"), ended: make(chan error, 1)}
	for _, path := range []string{r.Path, r.log} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			return nil, err
		}
	}
	r.daemon = exec.CommandContext(ctx, "qemu-storage-daemon",
		"--blockdev", "driver=file,node-name=disk,filename="+escaped(disk)+",cache.direct=off,discard=unmap",
		"--blockdev", "driver=file,node-name=log,filename="+escaped(r.log),
		"--blockdev", "driver=blklogwrites,node-name=recorded,file=disk,log=log,log-sector-size=512,log-super-update-interval=1",
		"--export", "type=fuse,id=export,node-name=recorded,mountpoint="+escaped(r.Path)+",writable=on,growable=off,allow-other=off")
	r.daemon.Stderr = &r.stderr
	if err := r.daemon.Start(); err != nil {
		return nil, fmt.Errorf("cannot record a disk: %w", err)
	}
	go func() { r.ended <- r.daemon.Wait() }()
	deadline := time.After(longestStart)
	for {
		if exported, err := sizeOf(r.Path); err == nil && exported == size {
			return r, nil
		}
		select {
		case err := <-r.ended:
			return nil, r.failed(err)
		case <-deadline:
			return nil, errors.Join(errors.New("the disk to record does not come"), r.Stop())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// escaped gives a path as an option of QEMU has it.
func escaped(path string) string { return strings.ReplaceAll(path, ",", ",,") }

func sizeOf(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Stop ends the recording. Nothing may use the disk any more.
func (r *Recording) Stop() error {
	for {
		if err := r.daemon.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("cannot end the recording of a disk: %w", err)
		}
		select {
		case err := <-r.ended:
			if err != nil {
				return r.failed(err)
			}
			return nil
		case <-time.After(stopAgain): // the daemon overlooks a signal that comes just before it waits for something
		}
	}
}

// Log reads what was recorded, after Stop.
func (r *Recording) Log() (*Log, error) { return OpenLog(r.log) }

func (r *Recording) failed(err error) error {
	return fmt.Errorf("the recording of a disk ended: %w: %s", err, strings.TrimSpace(r.stderr.String()))
}
