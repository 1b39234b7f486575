//go:build cgo && libzstd

package libzstd_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/trebuchet-update/tbupdate/core/delta/libzstd"
)

// TestOthersUnpackIt has a decoder of another make read what the library packs, with sources
// larger and smaller than the content.
func TestOthersUnpackIt(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	text := func(n int) []byte {
		var b bytes.Buffer
		for b.Len() < n {
			fmt.Fprintf(&b, "%x\n", random.Uint32())
		}
		return b.Bytes()[:n]
	}
	for _, size := range []struct{ content, source int }{{0, 0}, {1, 0}, {100, 50}, {5000, 3 << 20}, {1 << 20, 3 << 20}, {1 << 20, 100}, {1 << 20, 0}} {
		source := text(size.source)
		content := append(bytes.Clone(source[:min(size.source, size.content)/2]), text(size.content)...)[:size.content]
		packed, err := libzstd.Pack(content, source, 19)
		if err != nil {
			t.Fatal(err)
		}
		var header zstd.Header
		if err := header.Decode(packed); err != nil || !header.HasFCS || header.FrameContentSize != uint64(size.content) || header.DictionaryID != 0 || header.HasCheckSum {
			t.Errorf("%v: the header is %+v: %v", size, header, err)
		}
		options := []zstd.DOption{zstd.WithDecoderConcurrency(1)}
		if len(source) > 0 {
			options = append(options, zstd.WithDecoderDictRaw(0, source))
		}
		decoder, err := zstd.NewReader(nil, options...)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decoder.DecodeAll(packed, nil)
		decoder.Close()
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%v: %d bytes come out: %v", size, len(got), err)
		}
	}
}
