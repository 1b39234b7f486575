package frames

import (
	"context"
	"fmt"
	"io"
	"runtime"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
)

// Level says how much work goes into making a stream small.
type Level int

// The levels.
const (
	Default Level = iota
	Fast
)

func (l Level) encoderLevel() zstd.EncoderLevel {
	if l == Fast {
		return zstd.SpeedBetterCompression
	}
	return zstd.SpeedBestCompression
}

// pack is a v1.Pack.
func (l Level) pack(content, dictionary []byte) ([]byte, error) {
	options := []zstd.EOption{
		zstd.WithEncoderLevel(l.encoderLevel()), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false),
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

// packed is the bytes of a frame.
type packed struct {
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
	queue := make(chan chan packed, workers)
	header := stats.Header // as it is for the limits
	group.Go(func() error {
		defer close(queue)
		return produce(func(u *unpacked) error {
			result := make(chan packed, 1)
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
func packFrame(level Level, u *unpacked, header *v1.Header) packed {
	content := v1.Content{Size: uint64(len(u.content)), Stored: u.content}
	if len(u.content) > 0 {
		stored, err := level.pack(u.content, u.source)
		if err != nil {
			return packed{err: err}
		}
		if len(stored) < len(u.content) {
			content.Method, content.Stored = v1.Zstd, stored
		}
	}
	u.frame.Content = content
	if content.Method == v1.Plain {
		u.frame.Ranges = nil // it is not made of anything
	}
	b, err := v1.AppendFrame(nil, &u.frame, header, level.pack)
	return packed{bytes: b, totals: u.frame.Totals(), err: err}
}
