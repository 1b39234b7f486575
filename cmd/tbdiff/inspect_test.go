package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/trebuchet-update/tbupdate/core/delta"
	"github.com/trebuchet-update/tbupdate/core/tbdiff"
)

// FuzzInspect prints whatever comes. The JSON of a whole stream must be JSON, and
// nothing that the table shows may reach a terminal as a control character.
func FuzzInspect(f *testing.F) {
	vectors, err := filepath.Glob("../../core/rootfs/testdata/v0/*/stream.tbd")
	if err != nil || len(vectors) == 0 {
		f.Fatalf("there are no vectors: %v", err)
	}
	for _, vector := range vectors {
		stream, err := os.ReadFile(vector)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(stream)
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		var text, machine bytes.Buffer
		printAll(t, stream, &table{w: bufio.NewWriter(&text)})
		if printAll(t, stream, &object{w: bufio.NewWriter(&machine)}) && !json.Valid(machine.Bytes()) {
			t.Errorf("not JSON: %s", machine.Bytes())
		}
		for line := range strings.Lines(text.String()) {
			if i := strings.IndexFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
				t.Errorf("a control character at %d of %q", i, line)
			}
		}
	})
}

// printAll reports whether the stream was read to its end.
func printAll(t *testing.T, stream []byte, p printer) bool {
	totals, err := delta.Inspect(t.Context(), tbdiff.NewReader(bytes.NewReader(stream)), p.change)
	if err == nil {
		if err := p.finish(totals); err != nil {
			t.Error(err)
		}
	}
	if err := p.flush(); err != nil {
		t.Error(err)
	}
	return err == nil
}
