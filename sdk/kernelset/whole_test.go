package kernelset

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

// peImage makes a PE image whose one section ends at size.
func peImage(size uint32) []byte {
	image := make([]byte, 1024)
	copy(image, "MZ")
	image[0x3c] = 0x40
	copy(image[0x40:], "PE\x00\x00")
	binary.LittleEndian.PutUint16(image[0x46:], 2) // sections
	binary.LittleEndian.PutUint16(image[0x54:], 0x70)
	const table = 0x40 + 24 + 0x70
	binary.LittleEndian.PutUint32(image[table+16:], size-512)
	binary.LittleEndian.PutUint32(image[table+20:], 512)
	binary.LittleEndian.PutUint32(image[table+40+16:], 1<<30) // not in the file
	return image
}

// setupImage makes the head of an x86 kernel with so many setup sectors and paragraphs.
func setupImage(setup byte, paragraphs uint32) []byte {
	image := make([]byte, 1024)
	copy(image[0x202:], "HdrS")
	image[0x1f1] = setup
	binary.LittleEndian.PutUint32(image[0x1f4:], paragraphs)
	return image
}

func TestCheckWhole(t *testing.T) {
	tests := []struct {
		name  string
		image []byte
		size  uint64
		whole bool
	}{
		{"PE", peImage(5000), 5000, true},
		{"PE with a signature behind", peImage(5000), 6000, true},
		{"PE cut short", peImage(5000), 4999, false},
		{"bzImage", setupImage(2, 100), 3*512 + 1600, true},
		{"bzImage whose last paragraph is not full", setupImage(2, 100), 3*512 + 1590, true},
		{"bzImage of old with four setup sectors", setupImage(0, 100), 5*512 + 1600, true},
		{"bzImage cut short", setupImage(2, 100), 3*512 + 1584, false},
		{"something else", []byte("kernel"), 6, true},
		{"empty", nil, 0, true},
		{"PE whose header is far away", append([]byte("MZ"), bytes.Repeat([]byte{0xff}, 100)...), 102, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := CheckWhole(bytes.NewReader(test.image), test.size)
			if test.whole != (err == nil) || err != nil && !errors.Is(err, ErrCutShort) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func FuzzCheckWhole(f *testing.F) {
	f.Add(peImage(5000))
	f.Add(setupImage(2, 100))
	f.Fuzz(func(t *testing.T, image []byte) {
		if err := CheckWhole(bytes.NewReader(image), uint64(len(image))); err != nil && !errors.Is(err, ErrCutShort) {
			t.Errorf("error %v", err)
		}
	})
}
