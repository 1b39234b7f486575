package crash

import (
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// A kernel of these systems is one for ARM, of which nothing is needed but that U-Boot takes it for one and
// starts it: it notes where it is, and turns the machine off. To other boot loaders it is a file.

// What is in the header of a kernel for 64-bit ARM (Linux: Documentation/arch/arm64/booting.rst), by its place.
const (
	kernelSizeAt  = 16
	kernelFlagsAt = 24
	kernelMagicAt = 56
	kernelHeader  = 64
	kernelFlags   = 0b1010 // little endian, pages of 4 KiB, anywhere in memory
	kernelMagic   = 0x644d5241
)

// kernelNote is the address at which a kernel notes that of the device tree it was given, and then its own: far
// from all that it was given, where U-Boot itself was.
const kernelNote = 0x4fff0000

// kernelCode is what a kernel does.
var kernelCode = []uint32{
	0x10fffe01, // adr x1, the kernel's own beginning
	0xd2a9ffe2, // movz x2, kernelNote >> 16, lsl 16
	0xa9000440, // stp x0, x1, [x2]
	0x52b08000, // movz w0, 0x8400, lsl 16: PSCI's SYSTEM_OFF
	0x72800100, // movk w0, 8
	0xd4000002, // hvc 0
	0x14000000, // b .
}

// newKernel makes a kernel of some bytes, of which it has all but the first.
func newKernel(content []byte) []byte {
	clear(content[:kernelHeader])
	binary.LittleEndian.PutUint32(content, 0x14000000+kernelHeader/4) // b kernelHeader
	binary.LittleEndian.PutUint64(content[kernelSizeAt:], uint64(len(content)))
	binary.LittleEndian.PutUint64(content[kernelFlagsAt:], kernelFlags)
	binary.LittleEndian.PutUint32(content[kernelMagicAt:], kernelMagic)
	for i, word := range kernelCode {
		binary.LittleEndian.PutUint32(content[kernelHeader+4*i:], word)
	}
	return content
}

// memoryStart is the address of the board's memory (QEMU: hw/arm/virt.c).
const memoryStart = 0x40000000

// memory is that of the board.
type memory []byte

// openMemory gives what is in a file. close lets go of it.
func openMemory(path string) (memory, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	return unix.Mmap(int(file.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
}

func (m memory) close() { _ = unix.Munmap(m) }

// at gives what is at an address, nil for what is not in memory.
func (m memory) at(address, size uint64) []byte {
	if address < memoryStart || address-memoryStart > uint64(len(m)) || size > uint64(len(m))-(address-memoryStart) {
		return nil
	}
	return m[address-memoryStart:][:size]
}

var errNoKernel = errors.New("no kernel ran")

// ran gives the kernel that ran, and the device tree that it was given.
func (m memory) ran() (kernel, tree []byte, err error) {
	note := m.at(kernelNote, 16)
	if note == nil {
		return nil, nil, errNoKernel
	}
	treeAt, kernelAt := binary.LittleEndian.Uint64(note), binary.LittleEndian.Uint64(note[8:])
	header, treeHeader := m.at(kernelAt, kernelHeader), m.at(treeAt, 8)
	if header == nil || treeHeader == nil {
		return nil, nil, errNoKernel
	}
	kernel = m.at(kernelAt, binary.LittleEndian.Uint64(header[kernelSizeAt:]))
	tree = m.at(treeAt, uint64(binary.BigEndian.Uint32(treeHeader[4:])))
	return kernel, tree, nil
}
