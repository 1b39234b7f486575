package tbdiff_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/core/tbdiff"
)

// FuzzReader: whatever the bytes are, reading them ends with a classified error, or
// with commands that survive being written and read again.
func FuzzReader(f *testing.F) {
	for _, stream := range vectors(f) {
		// Long seeds keep the fuzzer busy with making them shorter.
		if len(stream) < 4096 {
			f.Add(stream)
		}
	}
	for _, e := range every {
		f.Add(e.raw)
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		steps, err := decode(bytes.NewReader(stream))
		if err != nil {
			var located *tbdiff.StreamError
			known := errors.Is(err, tbdiff.ErrMalformed) || errors.Is(err, tbdiff.ErrTruncated) || errors.Is(err, tbdiff.ErrUnsafe)
			if !known || !errors.As(err, &located) {
				t.Fatalf("error %v is not classified", err)
			}
			return
		}
		if holdsSocket(steps) {
			return // read, and not written
		}
		b, err := encode(steps)
		if err != nil {
			t.Fatalf("cannot write what was read: %v", err)
		}
		if len(b) != len(stream) {
			t.Errorf("written again it has %d bytes, not %d", len(b), len(stream))
		}
		again, err := decode(bytes.NewReader(b))
		if err != nil {
			t.Fatalf("cannot read what was written: %v", err)
		}
		third, err := encode(again)
		if err != nil {
			t.Fatal(err)
		}
		// The order of attributes is the Writer's from now on.
		if diff := cmp.Diff(b, third); diff != "" {
			t.Errorf("bytes differ (-second +third):\n%s", diff)
		}
	})
}

func holdsSocket(steps []step) bool {
	for _, s := range steps {
		if c, ok := s.Command.(tbdiff.SpecialCreate); ok && c.Mode&0o170000 == socket&0o170000 {
			return true
		}
	}
	return false
}
