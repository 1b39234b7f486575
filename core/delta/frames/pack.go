package frames

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/trebuchet-update/tbupdate/core/delta/libzstd"
	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
)

// Level says how much work goes into making a stream small.
type Level int

// The levels. They differ in what the machine has to do as well: Fast does not look inside what
// is packed, which would have to be packed again; Default looks into initial RAM disks, and Small
// into kernels, too. Small takes several times as long as Default, and libzstd.
const (
	Default Level = iota
	Fast
	Small
)

// looksInto reports whether what is packed by a method is made from what is packed in others.
func (l Level) looksInto(method v1.PackedBy) bool {
	if method == v1.ByLZ4 { // kernels, which the deployer packs by itself
		return l == Small
	}
	return l != Fast
}

// smallest is libzstd's level for Small: the highest that needs no memory out of the ordinary.
const smallest = 19

// ErrLevel says that a level cannot be had: the program was built without libzstd.
var ErrLevel = errors.New("it takes libzstd, which this program was built without")

// Check gives ErrLevel for a level that the program does not have.
func (l Level) Check() error {
	if l == Small && !libzstd.Available {
		return ErrLevel
	}
	return nil
}

// pack is a v1.Pack.
func (l Level) pack(content, dictionary []byte) ([]byte, error) {
	if l == Small {
		return libzstd.Pack(content, dictionary, smallest)
	}
	level := zstd.SpeedBestCompression
	if l == Fast {
		level = zstd.SpeedBetterCompression
	}
	options := []zstd.EOption{
		zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false),
		zstd.WithSingleSegment(true), zstd.WithWindowSize(window(len(content) + len(dictionary))),
	}
	if len(dictionary) > 0 {
		options = append(options, zstd.WithEncoderDictRaw(0, dictionary))
	}
	encoder, err := zstd.NewWriter(nil, options...)
	if err != nil {
		return nil, fmt.Errorf("cannot pack: %w", err)
	}
	defer encoder.Close()
	return encoder.EncodeAll(content, make([]byte, 0, len(content)/2+64)), nil
}

// window gives the size of an encoder's window that reaches over n bytes.
func window(n int) int {
	size := zstd.MinWindowSize
	for size < n {
		size *= 2
	}
	return size
}

// unpacked is a frame whose content is not packed yet.
type unpacked struct {
	frame           v1.Frame
	content, source []byte
}

// packedFrame is the bytes of a frame.
type packedFrame struct {
	bytes  []byte
	totals v1.Totals
	err    error
}

// packAll packs the frames that produce emits, several at a time, and writes them to w
// in their order. It adds up what they are.
func packAll(ctx context.Context, level Level, stats *Stats, w io.Writer, produce func(emit func(*unpacked) error) error) error {
	group, ctx := errgroup.WithContext(ctx)
	workers := runtime.GOMAXPROCS(0)
	// Each place in the queue holds a frame's content and source in memory.
	queue := make(chan chan packedFrame, workers)
	header := stats.Header // as it is for the limits
	group.Go(func() error {
		defer close(queue)
		return produce(func(u *unpacked) error {
			result := make(chan packedFrame, 1)
			select {
			case queue <- result:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			go func() { result <- packFrame(level, u, &header) }()
			return nil
		})
	})
	group.Go(func() error {
		for result := range queue {
			p := <-result
			if p.err != nil {
				return p.err
			}
			stats.Frames++
			stats.Header.Totals.Add(p.totals)
			if _, err := w.Write(p.bytes); err != nil {
				return fmt.Errorf("cannot put a frame aside: %w", err)
			}
		}
		return nil
	})
	return group.Wait()
}

// packFrame packs the content by the method that makes it smallest.
func packFrame(level Level, u *unpacked, header *v1.Header) packedFrame {
	content, err := packContent(level, u)
	if err != nil {
		return packedFrame{err: err}
	}
	u.frame.Content = content
	if content.Method == v1.Plain {
		u.frame.Ranges = nil // it is not made of anything
	}
	b, err := v1.AppendFrame(nil, &u.frame, header, level.pack)
	return packedFrame{bytes: b, totals: u.frame.Totals(), err: err}
}

// packContent packs the content in the way that makes it smallest. Which that is, a quick try
// tells.
func packContent(level Level, u *unpacked) (v1.Content, error) {
	content := v1.Content{Size: uint64(len(u.content)), Stored: u.content}
	if len(u.content) == 0 {
		return content, nil
	}
	method, matter, source := v1.Zstd, u.content, u.source
	stored, err := Fast.pack(matter, source)
	if err != nil {
		return content, err
	}
	if len(u.source) > 0 {
		difference := difference(u.content, u.source)
		tried, err := Fast.pack(difference, nil)
		if err != nil {
			return content, err
		}
		if len(tried) < len(stored) {
			method, matter, source, stored = v1.Difference, difference, nil, tried
		}
	}
	if level != Fast {
		if stored, err = level.pack(matter, source); err != nil {
			return content, err
		}
	}
	if len(stored) < len(content.Stored) {
		content.Method, content.Stored = method, stored
	}
	return content, nil
}
