package bootdir

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/trebuchet-update/tbupdate/sdk"
)

func testRecord() Record {
	return Record{
		ID: "a1", Title: "Version 1", Version: "6.1", Arguments: []string{"ro", `x="<&>"`}, Bytes: 100,
		Files:   []InstalledFile{{Role: sdk.RoleKernel, Source: "boot/vmlinuz", Target: "tbupdate/a1/vmlinuz", Size: 5, SHA256: "00"}},
		Scripts: []InstalledFile{{Target: "tbupdate/a1/x"}}, MadeFrom: "y",
	}
}

func TestRecordRoundTrip(t *testing.T) {
	data, err := testRecord().encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeRecord(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(testRecord(), got, cmpopts.IgnoreFields(Record{}, "Checksum")); diff != "" {
		t.Error(diff)
	}
	for i := range data {
		damaged := append([]byte{}, data...)
		damaged[i] ^= 0x04
		if _, err := decodeRecord(damaged); err == nil {
			t.Errorf("byte %d changed: not seen", i)
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	data, err := testRecord().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := decodeRecord(data)
		if err != nil {
			return
		}
		if again, err := r.encode(); err != nil || string(again) != string(data) {
			t.Errorf("not the same after a round trip: %q %v", again, err)
		}
	})
}
