package frames

import (
	"bytes"
	"math/rand/v2"
	"testing"

	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
)

// TestDifference makes contents from sources, and unpacks what was made.
func TestDifference(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	random := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	source := random(200_000)
	// moved is like a program whose addresses moved: every 20th number is another.
	moved := bytes.Clone(source)
	for i := 0; i+4 < len(moved); i += 20 {
		moved[i] += 16
	}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, c := range map[string]struct {
		content, source []byte
		most            int // of it packed
	}{
		"nothing":              {nil, source, 30},
		"the same":             {source, source, 100},
		"from nothing":         {source, nil, len(source) + 100},
		"from little":          {[]byte("some content"), []byte("content"), 100},
		"unlike":               {random(1000), source, 1100},
		"moved addresses":      {moved, source, 2000},
		"two halves exchanged": {join(source[100_000:], source[:100_000]), source, 200},
		"something before":     {join(random(999), source), source, 1200},
		"something between":    {join(source[:70_001], random(500), source[70_001:]), source, 700},
		"something behind":     {join(source, random(321)), source, 500},
		"the end only":         {source[150_003:], source, 100},
		"twice":                {join(source, source), source, 200},
		"pieces":               {join(source[5000:9000], random(40), source[100:5000], source[190_000:], moved[30_000:40_000]), source, 500},
	} {
		t.Run(name, func(t *testing.T) {
			packed, err := Default.pack(difference(c.content, c.source), nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(packed) > c.most {
				t.Errorf("it takes %d bytes, more than %d", len(packed), c.most)
			}
			content := v1.Content{Size: uint64(len(c.content)), Method: v1.Difference, Stored: packed}
			got, err := new(v1.Unpacker).Unpack(&content, c.source, nil)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, c.content) {
				t.Error("it unpacks to something else")
			}
		})
	}
}

func FuzzDifference(f *testing.F) {
	f.Add([]byte("the same thing, and more of it"), []byte("more of it, and the same thing"))
	f.Fuzz(func(t *testing.T, content, source []byte) {
		packed, err := Fast.pack(difference(content, source), nil)
		if err != nil {
			t.Fatal(err)
		}
		c := v1.Content{Size: uint64(len(content)), Method: v1.Difference, Stored: packed}
		got, err := new(v1.Unpacker).Unpack(&c, source, nil)
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("it unpacks to %q, %v", got, err)
		}
	})
}
