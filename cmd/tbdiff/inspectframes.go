package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/trebuchet-update/tbupdate/core/bundle"
	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
)

// framesSummary is what is shown of a stream of version 1. Its names are stable.
type framesSummary struct {
	Format   string         `json:"format"`
	Origin   *bundle.Digest `json:"origin"` // null: from nothing
	Target   bundle.Digest  `json:"target"`
	Bytes    int64          `json:"bytes"`
	Frames   int            `json:"frames"`
	Commands map[string]int `json:"commands"` // by name
	Content  uint64         `json:"content"`  // bytes in frames, unpacked
	Written  uint64         `json:"written"`  // bytes of files, holes left out
}

// inspectFrames reads a stream of version 1 to its end, and shows what it is.
func inspectFrames(ctx context.Context, s streams, source io.Reader, asJSON bool) error {
	r, err := v1.NewReader(source)
	if err != nil {
		return err
	}
	header := r.Header()
	summary := framesSummary{
		Format: formatV1, Target: bundle.Digest(header.Target), Commands: map[string]int{},
		Content: header.Totals.Content, Written: header.Totals.Written,
	}
	if header.Origin != nil {
		origin := bundle.Digest(*header.Origin)
		summary.Origin = &origin
	}
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		frame, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		summary.Frames++
		for _, c := range frame.Commands {
			summary.Commands[c.Op().String()]++
		}
	}
	summary.Bytes = r.Place().Offset
	if asJSON {
		return json.NewEncoder(s.out).Encode(summary)
	}
	return summary.print(s.out)
}

func (f *framesSummary) print(w io.Writer) error {
	from := "nothing"
	if f.Origin != nil {
		from = f.Origin.String()
	}
	var counts []string
	for _, name := range slices.Sorted(maps.Keys(f.Commands)) {
		counts = append(counts, fmt.Sprintf("%s %d", name, f.Commands[name]))
	}
	_, err := fmt.Fprintf(w, "from %s\nto   %s\nTotal: %s; %d bytes of content, %d of files, in a stream of %d bytes and %d frames\n",
		from, f.Target, strings.Join(counts, ", "), f.Content, f.Written, f.Bytes, f.Frames)
	return err
}
