package qemu

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

// talker is the code of a boot sector that prints "on" on the first serial port, and stops:
//
//	mov dx, 0x3f8; mov al, 'o'; out dx, al; mov al, 'n'; out dx, al; mov al, 10; out dx, al; hlt; jmp -3
var talker = []byte{0xba, 0xf8, 0x03, 0xb0, 'o', 0xee, 0xb0, 'n', 0xee, 0xb0, '\n', 0xee, 0xf4, 0xeb, 0xfd}

func newTalker(t *testing.T) *Machine {
	t.Helper()
	sector := make([]byte, 1<<20) // nothing smaller is a disk to the BIOS
	copy(sector, talker)
	binary.LittleEndian.PutUint16(sector[510:], 0xaa55)
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, sector, 0o600); err != nil {
		t.Fatal(err)
	}
	directory, err := os.MkdirTemp("", "lab-qemu-") // shorter than the test's
	if err != nil {
		t.Fatal(err)
	}
	m := New(Config{
		Program: "qemu-system-x86_64", Arguments: []string{"-accel", "tcg", "-machine", "pc"},
		Memory: 32, Directory: directory, Disks: []Disk{{Path: disk, Format: "raw"}},
	})
	t.Cleanup(func() { m.CutPower(); os.RemoveAll(directory) })
	return m
}

func TestPowerAndReset(t *testing.T) {
	m := newTalker(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if m.On() {
		t.Error("a new machine is on")
	}
	if err := m.Reset(); !errors.Is(err, ErrOff) {
		t.Errorf("reset of a machine that is off gives %v", err)
	}
	if err := m.PowerOn(); err != nil {
		t.Fatal(err)
	}
	says := regexp.MustCompile(`on$`)
	_, position, err := m.Console.Wait(ctx, 0, regexp.MustCompile(`^on$`))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Reset(); err != nil {
		t.Fatal(err)
	}
	_, position, err = m.Console.Wait(ctx, position, regexp.MustCompile(`^RESET$`))
	if err != nil {
		t.Fatal(err)
	}
	line, position, err := m.Console.Wait(ctx, position, says)
	if err != nil {
		t.Fatal(err)
	}
	if line.Machine {
		t.Errorf("this is not what the guest said: %s", line)
	}
	short, stop := context.WithTimeout(ctx, 100*time.Millisecond)
	defer stop()
	if err := m.WaitUp(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a guest without an agent is up: %v", err)
	}
	m.CutPower()
	if m.On() {
		t.Error("the machine is on after the power was cut")
	}
	if _, err := m.Run(ctx, "true"); !errors.Is(err, ErrOff) {
		t.Errorf("a command in a machine that is off gives %v", err)
	}
	if err := m.PowerOn(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.Console.Wait(ctx, position, says); err != nil {
		t.Errorf("it does not start again: %v", err)
	}
}

func TestMachineThatDoesNotStart(t *testing.T) {
	m := newTalker(t)
	m.config.Disks[0].Path += ".gone"
	if err := m.PowerOn(); err == nil || !regexp.MustCompile(`disk\.gone`).MatchString(err.Error()) {
		t.Errorf("the error does not name the disk: %v", err)
	}
	if m.On() {
		t.Error("it is on")
	}
}

func TestConsole(t *testing.T) {
	c := newConsole()
	var echo bytes.Buffer
	c.Echo(&echo)
	c.read(bytes.NewReader([]byte("\x1b[1;31mred\x1b[0m\r\nplain\nthe end")))
	var texts []string
	for _, line := range c.Lines(0) {
		texts = append(texts, line.Text)
	}
	if got := len(texts); got != 3 || texts[0] != "red" || texts[2] != "the end" {
		t.Errorf("the lines are %q", texts)
	}
	if !bytes.Contains(echo.Bytes(), []byte("plain")) {
		t.Errorf("the echo is %q", echo.Bytes())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, _, err := c.Wait(ctx, 1, regexp.MustCompile("red")); err == nil {
		t.Error("a line before the position was found")
	}
}
