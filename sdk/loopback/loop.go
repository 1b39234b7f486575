// Package loopback gives tests of backends, and tools that build disk images, real
// filesystems on loop devices.
//
// It has two levels. Attach binds an image file to a loop device and Loop.Detach
// undoes it; nothing of package testing is needed. New, for tests, makes a
// formatted image that is gone when the test is over, however it ended.
//
// # What a killed test leaves
//
// Nothing. Loop devices are bound with LO_FLAGS_AUTOCLEAR, so that the kernel
// releases them with the last handle or mount. A package whose TestMain calls
// Main runs in a mount namespace of its own, so that its mounts end with its
// processes, also when a test timed out or was killed.
//
// Everything here needs root, and Linux 5.8 for LOOP_CONFIGURE.
package loopback

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// loopMajor is the major device number of loop devices (LOOP_MAJOR in
// linux/major.h).
const loopMajor = 7

// attachTries bounds the race for a free device: each lost race means that
// somebody else got one.
const attachTries = 100

// Loop is an image file bound to a loop device.
type Loop struct {
	Path  string // of the device: "/dev/loop3"
	Image string // the file behind it

	number int
	// device stays open: with LO_FLAGS_AUTOCLEAR the binding lasts as long as
	// somebody has the device open or mounted.
	device *os.File
	// partitions are those that AddPartition made.
	partitions []int
}

// Attach binds the image, read and write, to a free loop device. The device is
// released by Detach, or by the kernel when this process ends and nothing on the
// device is mounted.
func Attach(image string) (*Loop, error) {
	l, err := attach(image)
	if err != nil {
		return nil, fmt.Errorf("cannot attach %s to a loop device: %w", image, err)
	}
	return l, nil
}

func attach(image string) (*Loop, error) {
	file, err := os.OpenFile(image, os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close() // the kernel holds its own reference
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()

	var lost error
	for try := range attachTries {
		number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("LOOP_CTL_GET_FREE: %w", err)
		}
		l, err := configure(number, file)
		if err == nil {
			return l, nil
		}
		// Between GET_FREE and CONFIGURE another process may have taken the
		// device (EBUSY), or removed it (ENXIO, ENOENT).
		if !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENXIO) && !errors.Is(err, unix.ENOENT) {
			return nil, err
		}
		lost = err
		time.Sleep(time.Duration(try) * time.Millisecond)
	}
	return nil, fmt.Errorf("every free device was taken by others %d times: %w", attachTries, lost)
}

// configure binds file to the loop device of this number.
func configure(number int, file *os.File) (*Loop, error) {
	path := "/dev/loop" + strconv.Itoa(number)
	if err := makeNode(path, unix.Mkdev(loopMajor, uint32(number))); err != nil {
		return nil, err
	}
	device, err := os.OpenFile(path, os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	config := unix.LoopConfig{Fd: uint32(file.Fd())}
	config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
	// For people who run losetup; the kernel keeps the last byte a NUL.
	copy(config.Info.File_name[:len(config.Info.File_name)-1], file.Name())
	if err := unix.IoctlLoopConfigure(int(device.Fd()), &config); err != nil {
		device.Close()
		return nil, fmt.Errorf("LOOP_CONFIGURE of %s: %w", path, err)
	}
	l := &Loop{Path: path, Image: file.Name(), number: number, device: device}
	if err := l.dropStalePartitions(); err != nil {
		l.Detach()
		return nil, err
	}
	return l, nil
}

// makeNode makes a block device node where the system has no devtmpfs that does.
func makeNode(path string, device uint64) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err == nil {
		return nil
	}
	err := unix.Mknod(path, unix.S_IFBLK|0o600, int(device))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("mknod %s: %w", path, err)
	}
	return nil
}

// Detach releases the device and its partitions, and waits until the kernel has
// let go of the image. It fails when something on the device is still mounted;
// then the kernel releases it with the last unmount. Repeated: nothing to do.
func (l *Loop) Detach() error {
	if l.device == nil {
		return nil
	}
	for _, number := range l.partitions {
		// A partition in use keeps the device too, which is reported below.
		_ = l.partitionCommand(unix.BLKPG_DEL_PARTITION, blkpgPartition{number: int32(number)})
	}
	err := unix.IoctlSetInt(int(l.device.Fd()), unix.LOOP_CLR_FD, 0)
	l.device.Close()
	l.device = nil
	if err != nil && !errors.Is(err, unix.ENXIO) {
		return fmt.Errorf("cannot detach %s from %s: %w", l.Image, l.Path, err)
	}
	if !waitUntil(func() bool { return !l.bound() }) {
		return fmt.Errorf("cannot detach %s from %s: it is still mounted or open", l.Image, l.Path)
	}
	return nil
}

// bound reports whether the device still has this image. The kernel shows the
// image's path as it is now, with " (deleted)" after it when it was removed.
func (l *Loop) bound() bool {
	backing, err := os.ReadFile(fmt.Sprintf("/sys/block/loop%d/loop/backing_file", l.number))
	if err != nil {
		return false
	}
	image, err := filepath.EvalSymlinks(l.Image)
	if err != nil {
		image = l.Image
	}
	return strings.TrimSuffix(strings.TrimSpace(string(backing)), " (deleted)") == image
}

// waitUntil polls for up to five seconds.
func waitUntil(done func() bool) bool {
	for range 500 {
		if done() {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return done()
}

// AddPartition makes a range of the device a block device of its own and gives
// its path, such as "/dev/loop3p1". start and length are in bytes, multiples of
// 512. It works where the kernel has no partition parser, and writes no partition
// table. Detach removes it.
func (l *Loop) AddPartition(number int, start, length int64) (string, error) {
	partition := blkpgPartition{start: start, length: length, number: int32(number)}
	if err := l.partitionCommand(unix.BLKPG_ADD_PARTITION, partition); err != nil {
		return "", fmt.Errorf("cannot add partition %d to %s: %w", number, l.Path, err)
	}
	l.partitions = append(l.partitions, number)
	path := fmt.Sprintf("%sp%d", l.Path, number)
	device, err := partitionDevice(l.number, number)
	if err != nil {
		return "", fmt.Errorf("cannot find partition %d of %s: %w", number, l.Path, err)
	}
	if err := makeNode(path, device); err != nil {
		return "", err
	}
	return path, nil
}

// partitionDevice reads the device number of a partition: "MAJOR:MINOR".
func partitionDevice(loop, partition int) (uint64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/sys/block/loop%d/loop%dp%d/dev", loop, loop, partition))
	if err != nil {
		return 0, err
	}
	var major, minor uint32
	if _, err := fmt.Sscanf(string(data), "%d:%d", &major, &minor); err != nil {
		return 0, err
	}
	return unix.Mkdev(major, minor), nil
}

// dropStalePartitions removes what a killed predecessor added: the kernel keeps
// partitions that were added by hand when it clears a loop device.
func (l *Loop) dropStalePartitions() error {
	paths, err := filepath.Glob(fmt.Sprintf("/sys/block/loop%d/loop%dp*", l.number, l.number))
	if err != nil {
		return err
	}
	for _, path := range paths {
		_, text, _ := strings.Cut(filepath.Base(path), "p")
		_, text, _ = strings.Cut(text, "p") // "loopNpM": the first p is of "loop"
		number, err := strconv.Atoi(text)
		if err != nil {
			continue
		}
		if err := l.partitionCommand(unix.BLKPG_DEL_PARTITION, blkpgPartition{number: int32(number)}); err != nil {
			return fmt.Errorf("cannot remove stale partition %d of %s: %w", number, l.Path, err)
		}
	}
	return nil
}

// blkpgPartition is struct blkpg_partition of linux/blkpg.h.
type blkpgPartition struct {
	start  int64
	length int64
	number int32
	_      [2 * 64]byte // devname, volname: ignored by the kernel
	_      [4]byte      // what C adds, on 32-bit machines too
}

// blkpg is the request BLKPG, _IO(0x12, 105), of linux/blkpg.h.
const blkpg = 0x1269

// partitionCommand runs one BLKPG operation on the device.
func (l *Loop) partitionCommand(operation int32, partition blkpgPartition) error {
	argument := unix.BlkpgIoctlArg{
		Op:      operation,
		Datalen: int32(unsafe.Sizeof(partition)),
		Data:    (*byte)(unsafe.Pointer(&partition)),
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, l.device.Fd(), blkpg, uintptr(unsafe.Pointer(&argument)))
	runtime.KeepAlive(&partition)
	if errno != 0 {
		return errno
	}
	return nil
}
