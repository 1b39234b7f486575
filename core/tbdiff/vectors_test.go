package tbdiff_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/core/tbdiff"
)

// vectors gives the streams that the C tool wrote, by case.
func vectors(t testing.TB) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob("../rootfs/testdata/v0/*/stream.tbd")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no vectors found: %v", err)
	}
	streams := map[string][]byte{}
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		streams[filepath.Base(filepath.Dir(p))] = b
	}
	return streams
}

// step is a decoded command with its payload.
type step struct {
	Command tbdiff.Command
	Data    string
}

// decode reads a whole stream.
func decode(source io.Reader) ([]step, error) {
	r := tbdiff.NewReader(source)
	var steps []step
	for {
		c, err := r.Next()
		if err == io.EOF {
			return steps, nil
		}
		if err != nil {
			return steps, err
		}
		data, err := io.ReadAll(r.Data())
		if err != nil {
			return steps, err
		}
		steps = append(steps, step{c, string(data)})
	}
}

// skim reads a whole stream but for its payloads, and gives the error that ends it.
func skim(stream []byte) error {
	r := tbdiff.NewReader(bytes.NewReader(stream))
	for {
		if _, err := r.Next(); err != nil {
			return err
		}
	}
}

// encode writes what decode gave.
func encode(steps []step) ([]byte, error) {
	var b bytes.Buffer
	w := tbdiff.NewWriter(&b)
	for _, s := range steps {
		var err error
		switch c := s.Command.(type) {
		case tbdiff.Identify, tbdiff.Update:
			continue
		case tbdiff.FileCreate, tbdiff.FileDelta:
			err = w.WriteData(c, bytes.NewReader([]byte(s.Data)))
		default:
			err = w.Write(c)
		}
		if err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

func TestVectorsRoundTrip(t *testing.T) {
	for name, stream := range vectors(t) {
		t.Run(name, func(t *testing.T) {
			steps, err := decode(bytes.NewReader(stream))
			if err != nil {
				t.Fatal(err)
			}
			got, err := encode(steps)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(stream, got); diff != "" {
				t.Errorf("re-encoded stream differs (-want +got):\n%s", diff)
			}
		})
	}
}

// A stream cut at any byte is truncated, and one with anything behind it malformed.
func TestVectorsCutAndExtended(t *testing.T) {
	for name, stream := range vectors(t) {
		t.Run(name, func(t *testing.T) {
			for n := range stream {
				if err := skim(stream[:n]); !errors.Is(err, tbdiff.ErrTruncated) {
					t.Fatalf("cut at byte %d: error is %v, want ErrTruncated", n, err)
				}
			}
			if err := skim(append(stream, 0)); !errors.Is(err, tbdiff.ErrMalformed) {
				t.Errorf("with a byte behind: error is %v, want ErrMalformed", err)
			}
		})
	}
}
