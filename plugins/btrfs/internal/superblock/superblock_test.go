package superblock

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func example() []byte {
	data := make([]byte, Size)
	for i := range 16 {
		data[0x20+i] = byte(0xa0 + i)
	}
	copy(data[0x40:], "_BHRfS_M")
	data[0x88] = 2
	copy(data[0x12b:], "system\x00rest of an older label")
	return data
}

func TestParse(t *testing.T) {
	got, err := Parse(example())
	if err != nil {
		t.Fatal(err)
	}
	want := Superblock{UUID: "a0a1a2a3-a4a5-a6a7-a8a9-aaabacadaeaf", Label: "system", Devices: 2}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOtherDataIsNotBtrfs(t *testing.T) {
	broken := example()
	broken[0x40] = 'X'
	for name, data := range map[string][]byte{
		"nothing": nil, "zeros": make([]byte, Size), "short": example()[:Size-1], "another magic": broken,
	} {
		if _, err := Parse(data); !errors.Is(err, ErrNotBtrfs) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(example())
	f.Fuzz(func(t *testing.T, data []byte) {
		if block, err := Parse(data); err == nil && (len(block.UUID) != 36 || len(block.Label) > labelSize) {
			t.Errorf("%+v", block)
		}
	})
}
