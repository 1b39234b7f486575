package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// TestInTime has a check that takes too long, one that fails, and one that is called off.
func TestInTime(t *testing.T) {
	waits := func(ctx context.Context, _ io.Writer) error { <-ctx.Done(); return ctx.Err() }
	failed := errors.New("it is damaged")
	fails := func(context.Context, io.Writer) error { return failed }
	off, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx   context.Context
		limit time.Duration
		check func(context.Context, io.Writer) error
		want  error
		says  string
	}{
		"takes too long": {t.Context(), time.Millisecond, waits, nil, "Not all of it was read within 1ms"},
		"fails":          {t.Context(), time.Minute, fails, failed, ""},
		"is called off":  {off, time.Minute, waits, context.Canceled, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var output bytes.Buffer
			err := inTime(c.limit, c.check)(c.ctx, &output)
			if !errors.Is(err, c.want) || !strings.HasPrefix(output.String(), c.says) || c.says == "" && output.Len() > 0 {
				t.Errorf("it ends with %v and says %q", err, output.String())
			}
		})
	}
}
