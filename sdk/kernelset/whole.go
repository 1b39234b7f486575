package kernelset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrCutShort says that a kernel image ends before its own headers say it does.
var ErrCutShort = errors.New("the kernel image is cut short")

// CheckWhole compares the size of a kernel image with what its headers say: those of
// an EFI program (PE), which kernels for x86, ARM and RISC-V are, and those of an x86
// bzImage. Images of other kinds, and with headers that make no sense, pass.
//
// Errors: ErrCutShort, and those of reading.
func CheckWhole(image io.ReaderAt, size uint64) error {
	for _, measure := range []func(io.ReaderAt) (uint64, error){programSize, bzImageSize} {
		wanted, err := measure(image)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if wanted > size {
			return fmt.Errorf("%w: it has %d bytes of %d", ErrCutShort, size, wanted)
		}
	}
	return nil
}

// programSize gives where the last section of a PE image ends, 0 for other files. The
// offsets are those of Microsoft's "PE Format".
func programSize(image io.ReaderAt) (uint64, error) {
	head := make([]byte, 0x40)
	if _, err := image.ReadAt(head, 0); err != nil || string(head[:2]) != "MZ" {
		return 0, err
	}
	at := int64(binary.LittleEndian.Uint32(head[0x3c:]))
	file := make([]byte, 24)
	if _, err := image.ReadAt(file, at); err != nil || string(file[:4]) != "PE\x00\x00" {
		return 0, err
	}
	at += int64(len(file)) + int64(binary.LittleEndian.Uint16(file[20:]))
	var end uint64
	section := make([]byte, 40)
	for range binary.LittleEndian.Uint16(file[6:]) {
		if _, err := image.ReadAt(section, at); err != nil {
			return end, err
		}
		at += int64(len(section))
		size, start := binary.LittleEndian.Uint32(section[16:]), binary.LittleEndian.Uint32(section[20:])
		if start != 0 { // a section without a place in the file is made by the loader
			end = max(end, uint64(start)+uint64(size))
		}
	}
	return end, nil
}

// bzImageSize gives the size of an x86 bzImage, 0 for other files: setup sectors (4
// where the header says 0) after the first, and the rest in units of 16 bytes, of
// which the last need not be full (Documentation/arch/x86/boot.rst).
func bzImageSize(image io.ReaderAt) (uint64, error) {
	head := make([]byte, 0x206)
	if _, err := image.ReadAt(head, 0); err != nil || string(head[0x202:]) != "HdrS" {
		return 0, err
	}
	setup := uint64(head[0x1f1])
	if setup == 0 {
		setup = 4
	}
	rest := uint64(binary.LittleEndian.Uint32(head[0x1f4:])) * 16
	if rest > 0 {
		rest -= 15
	}
	return (setup+1)*512 + rest, nil
}
