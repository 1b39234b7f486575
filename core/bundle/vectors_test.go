package bundle_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/core/bundle"
)

// Vectors of version 1 are written once, with "go test ./core/bundle -run Vectors -vectors.write",
// and never again: every reader has to take these.
var writeVectors = flag.Bool("vectors.write", false, "write the vectors of version 1, if they are not there yet")

// vectors has a bundle with two payloads, signed by the first two of three keys, what its
// manifest says, and the payloads.
const vectors = "testdata/v1"

// vectorPayloads are a short one, and one of two pieces.
func vectorPayloads() [][]byte {
	return [][]byte{[]byte("a delta"), append(bytes.Repeat([]byte("all of it\n"), bundle.PieceSize/10), "and a little more"...)}
}

func writeVector(t *testing.T) {
	t.Helper()
	if err := os.Mkdir(vectors, 0o755); err != nil {
		t.Fatal(err)
	}
	var signers []*bundle.PrivateKey
	for _, name := range []string{"one", "two", "three"} {
		k := key(t, name)
		text, err := k.PublicText()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(vectors, name+".pub"), text, 0o644); err != nil {
			t.Fatal(err)
		}
		signers = append(signers, k)
	}
	m := manifest()
	whole := write(t, m, vectorPayloads(), signers[:2]...)
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"bundle.tbu": whole, "manifest.json": append(text, '\n')} {
		if err := os.WriteFile(filepath.Join(vectors, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestVectors(t *testing.T) {
	if _, err := os.Stat(vectors); *writeVectors && errors.Is(err, os.ErrNotExist) {
		writeVector(t)
	}
	file := func(name string) []byte {
		content, err := os.ReadFile(filepath.Join(vectors, name))
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	keys := map[string]*bundle.PublicKey{}
	for _, name := range []string{"one", "two", "three"} {
		k, err := bundle.ParsePublicKey(name, file(name+".pub"))
		if err != nil {
			t.Fatal(err)
		}
		keys[name] = k
	}
	var want bundle.Manifest
	if err := json.Unmarshal(file("manifest.json"), &want); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		names     []string
		threshold int
		trusted   bool
	}{
		{[]string{"one"}, 1, true}, {[]string{"two", "three"}, 1, true}, {[]string{"one", "two", "three"}, 2, true},
		{[]string{"three"}, 1, false}, {[]string{"one", "three"}, 2, false}, {[]string{"one", "two", "three"}, 3, false}, {nil, 1, false},
	} {
		trusted := bundle.Trust{Threshold: c.threshold, Now: now}
		for _, name := range c.names {
			trusted.Keys = append(trusted.Keys, keys[name])
		}
		r, err := bundle.NewReader(t.Context(), bytes.NewReader(file("bundle.tbu")), trusted)
		if !c.trusted {
			if !errors.Is(err, bundle.ErrUntrusted) {
				t.Errorf("to whom trusts %d of %q the error is %v", c.threshold, c.names, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("to whom trusts %d of %q: %v", c.threshold, c.names, err)
			continue
		}
		if diff := cmp.Diff(&want, r.Manifest); diff != "" {
			t.Error(diff)
		}
	}
	for n, want := range vectorPayloads() {
		r, err := bundle.NewReader(t.Context(), bytes.NewReader(file("bundle.tbu")), bundle.Trust{Keys: bundle.Keys{keys["one"]}, Threshold: 1, Now: now})
		if err != nil {
			t.Fatal(err)
		}
		payload, err := r.Payload(n)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(payload); err != nil || !bytes.Equal(got, want) {
			t.Errorf("payload %d has %d bytes, want %d: %v", n, len(got), len(want), err)
		}
	}
}
