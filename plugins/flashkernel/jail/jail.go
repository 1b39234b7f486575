// Package jail runs the flash-kernel of a root tree for that tree, where it can touch
// nothing else: in a mount namespace and a chroot of its own, in which /boot is a
// memory filesystem with just one kernel and initrd, /dev has no device that holds
// anything, and the tree is read-only. What flash-kernel writes into /boot there is
// the result.
//
// The tree's programs run, so they have to be for this machine.
package jail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/sdk/kernelset"
)

// Program is flash-kernel's path in a tree.
const Program = "usr/sbin/flash-kernel"

// Errors of Run.
var (
	// ErrMissing says that the tree lacks something that flash-kernel needs.
	ErrMissing = errors.New("the root tree is not made for flash-kernel")
	// ErrFailed says that flash-kernel did not do what it was asked for.
	ErrFailed = errors.New("flash-kernel failed")
)

// Job says what flash-kernel is to do.
type Job struct {
	Root    string // the root tree
	Version string // kernel release
	Machine string // its name in flash-kernel's database
	Kernel  string // path within the tree
	Initrd  string // the same, "" for none
	// Snippets are further files for /etc/flash-kernel/ubootenv.d, by name.
	Snippets map[string]string
	// Scratch is an empty directory that the caller removes. The results are in
	// its directory Results.
	Scratch string
}

// Results is the directory below Job.Scratch with what flash-kernel wrote, under the
// names that it has in /boot. Links are files there; backups are left out.
const Results = "boot"

// Run runs flash-kernel and gives what it said. It often says that all is well when
// it did nothing: the caller has to look at the results.
//
// Errors: ErrMissing, ErrFailed, those of the context.
func (j Job) Run(ctx context.Context) (output string, err error) {
	for _, dir := range []string{"root", Results} {
		if err := os.Mkdir(filepath.Join(j.Scratch, dir), 0o700); err != nil {
			return "", err
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The mount namespace belongs to this thread alone, which ends with this
		// function, since it is never unlocked.
		runtime.LockOSThread()
		output, err = j.runApart(ctx)
	}()
	<-done
	return output, err
}

// runApart gives this thread a mount namespace and leaves that again, so that it is
// gone, with what it has mounted, when Run returns: also the copies of mounts that
// others want to unmount.
func (j Job) runApart(ctx context.Context) (output string, err error) {
	home, err := os.Open("/proc/thread-self/ns/mnt")
	if err != nil {
		return "", err
	}
	defer home.Close()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return "", fmt.Errorf("cannot make a mount namespace: %w", err)
	}
	defer func() {
		if leaveErr := unix.Setns(int(home.Fd()), unix.CLONE_NEWNS); err == nil && leaveErr != nil {
			err = fmt.Errorf("cannot leave the mount namespace: %w", leaveErr)
		}
	}()
	return j.run(ctx)
}

// run is Run in a mount namespace of its own.
func (j Job) run(ctx context.Context) (string, error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return "", fmt.Errorf("cannot make the mounts private: %w", err)
	}
	top := filepath.Join(j.Scratch, "root")
	if err := bindReadOnly(j.Root, top); err != nil {
		return "", err
	}
	tree, err := kernelset.OpenRoot(top)
	if err != nil {
		return "", err
	}
	defer tree.Close()
	if err := j.furnish(tree); err != nil {
		return "", err
	}
	output, err := j.start(ctx, top)
	if err != nil {
		return output, err
	}
	return output, j.collect(top)
}

// start runs flash-kernel to its end.
func (j Job) start(ctx context.Context, top string) (string, error) {
	run := exec.CommandContext(ctx, "/"+Program, "--force", j.Version)
	run.Env = []string{
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/", "TMPDIR=/tmp",
		"FK_MACHINE=" + j.Machine, "FK_IGNORE_EFI=yes",
		// mkimage writes the time down; without it the same input gives the same file.
		"SOURCE_DATE_EPOCH=0",
	}
	run.Dir = "/"
	// The signal comes when this thread ends, that is, also when this process is
	// killed.
	run.SysProcAttr = &syscall.SysProcAttr{Chroot: top, Setpgid: true, Pdeathsig: syscall.SIGKILL}
	run.Cancel = func() error { return unix.Kill(-run.Process.Pid, unix.SIGKILL) }
	run.WaitDelay = 5 * time.Second
	var said bytes.Buffer
	run.Stdout, run.Stderr = &said, &said
	err := run.Run()
	output := strings.TrimSpace(said.String())
	switch {
	case ctx.Err() != nil:
		return output, ctx.Err()
	case errors.Is(err, unix.ENOEXEC):
		return output, fmt.Errorf("%w: its programs are not for this machine", ErrMissing)
	case errors.Is(err, os.ErrNotExist):
		return output, fmt.Errorf("%w: /%s or what runs it is not there", ErrMissing, Program)
	case err != nil:
		return output, fmt.Errorf("%w for the machine %q: %w: %s", ErrFailed, j.Machine, err, lastLines(output))
	}
	return output, nil
}

// lastLines is what a message can hold of an output.
func lastLines(output string) string {
	const most = 300
	if len(output) > most {
		output = "…" + strings.ToValidUTF8(output[len(output)-most:], "")
	}
	return strings.ReplaceAll(output, "\n", "; ")
}
