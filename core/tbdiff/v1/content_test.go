package v1_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/trebuchet-update/tbupdate/core/tbdiff"
	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
)

func random(seed uint64, n int) []byte {
	source := rand.New(rand.NewPCG(seed, 0))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(source.Uint32())
	}
	return b
}

// packed fails the test where pack fails.
func packed(t testing.TB, content, dictionary []byte) []byte {
	b, err := pack(t)(content, dictionary)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestUnpack(t *testing.T) {
	source := random(1, 300_000)
	similar := bytes.Clone(source)
	copy(similar[1000:], "something else")
	moved := append(bytes.Clone(source[100_000:]), source[:100_000]...)
	for i := range moved {
		if i%1000 == 999 {
			moved[i]++
		}
	}
	ones := make([]byte, len(moved))
	for i := range ones {
		if i%1000 == 999 {
			ones[i] = 1
		}
	}
	difference := v1.AppendDifference(nil, []v1.Triple{{Seek: 100_000}, {Add: 199_995}, {Add: 5, Seek: -300_000}, {Add: 100_000, Insert: 3}}, ones, []byte("end"))
	for name, c := range map[string]struct {
		method   v1.Method
		stored   []byte
		source   []byte
		expected []byte
		most     int
	}{
		"plain":                {v1.Plain, []byte("as it is"), nil, []byte("as it is"), 8},
		"nothing":              {v1.Plain, nil, nil, nil, 0},
		"zstd":                 {v1.Zstd, packed(t, bytes.Repeat([]byte("ab"), 1000), nil), nil, bytes.Repeat([]byte("ab"), 1000), 100},
		"zstd with a source":   {v1.Zstd, packed(t, similar, source), source, similar, 1000},
		"difference":           {v1.Difference, packed(t, difference, nil), source, append(bytes.Clone(moved), "end"...), 2000},
		"difference of nought": {v1.Difference, packed(t, v1.AppendDifference(nil, nil, nil, nil), nil), nil, nil, 20},
	} {
		t.Run(name, func(t *testing.T) {
			content := v1.Content{Size: uint64(len(c.expected)), Method: c.method, Stored: c.stored}
			got, err := new(v1.Unpacker).Unpack(&content, c.source, make([]byte, 100))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, c.expected) {
				t.Error("it is not what was packed")
			}
			if len(c.stored) > c.most {
				t.Errorf("it takes %d bytes, more than %d", len(c.stored), c.most)
			}
		})
	}
}

func TestUnpackRefuses(t *testing.T) {
	bomb := packed(t, make([]byte, 64<<20), nil)
	difference := func(triples []v1.Triple, add, insert string) []byte {
		return packed(t, v1.AppendDifference(nil, triples, []byte(add), []byte(insert)), nil)
	}
	for name, c := range map[string]struct {
		size   uint64
		method v1.Method
		stored []byte
	}{
		"another size":          {3, v1.Plain, []byte("four")},
		"no such method":        {4, 3, []byte("four")},
		"no frame":              {4, v1.Zstd, []byte("four")},
		"a bomb":                {4, v1.Zstd, bomb},
		"a cut frame":           {64 << 20, v1.Zstd, bomb[:len(bomb)-1]},
		"two frames":            {8, v1.Zstd, append(packed(t, []byte("four"), nil), packed(t, []byte("four"), nil)...)},
		"difference, a bomb":    {4, v1.Difference, bomb},
		"reads before":          {2, v1.Difference, difference([]v1.Triple{{Seek: -1}, {Add: 2}}, "ab", "")},
		"reads behind":          {5, v1.Difference, difference([]v1.Triple{{Add: 5}}, "abcde", "")},
		"seeks far":             {1, v1.Difference, difference([]v1.Triple{{Seek: 1<<63 - 1}, {Seek: 1<<63 - 1}, {Add: 1}}, "a", "")},
		"makes more":            {1, v1.Difference, difference([]v1.Triple{{Insert: 2}}, "", "ab")},
		"makes less":            {3, v1.Difference, difference([]v1.Triple{{Insert: 2}}, "", "ab")},
		"bytes that are not":    {2, v1.Difference, difference([]v1.Triple{{Insert: 2}}, "", "a")},
		"bytes left over":       {1, v1.Difference, difference([]v1.Triple{{Insert: 1}}, "", "ab")},
		"more steps than bytes": {1, v1.Difference, difference(make([]v1.Triple, 3), "", "a")},
	} {
		t.Run(name, func(t *testing.T) {
			content := v1.Content{Size: c.size, Method: c.method, Stored: c.stored}
			if _, err := new(v1.Unpacker).Unpack(&content, []byte("four"), nil); !errors.Is(err, tbdiff.ErrMalformed) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

func FuzzUnpack(f *testing.F) {
	source := []byte("some source to work with")
	f.Add(uint64(4), byte(1), packed(f, []byte("four"), source))
	f.Add(uint64(6), byte(2), packed(f, v1.AppendDifference(nil, []v1.Triple{{Add: 4, Insert: 2}}, []byte("abcd"), []byte("xy")), nil))
	f.Fuzz(func(t *testing.T, size uint64, method byte, stored []byte) {
		content := v1.Content{Size: size % 4096, Method: v1.Method(method % 4), Stored: stored}
		if got, err := new(v1.Unpacker).Unpack(&content, source, make([]byte, 2000)); err == nil && uint64(len(got)) != content.Size {
			t.Errorf("%d bytes instead of %d", len(got), content.Size)
		}
	})
}
