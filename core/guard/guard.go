// Package guard waits with a trial for its judgement: it tends the watchdog, and says
// when the time is up. It holds no lock and needs no plugin while it waits, so that it
// works on a machine where little else does.
package guard

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Verdict is what became of a trial.
type Verdict string

// The verdicts.
const (
	Pending  Verdict = "pending"  // not judged yet
	Settled  Verdict = "settled"  // confirmed or taken back: nothing is on trial any more
	Rejected Verdict = "rejected" // given up: the machine is about to reboot
	Expired  Verdict = "expired"  // not judged in time
)

// Board is where those who judge a trial leave their verdict for the guard: a
// directory that does not survive a reboot, with a file for each trial.
type Board string

// Post leaves a verdict. There is nothing to make durable: it holds for this boot.
func (b Board) Post(trial string, verdict Verdict) error {
	if err := os.MkdirAll(string(b), 0o700); err != nil {
		return fmt.Errorf("cannot leave the verdict for the guard: %w", err)
	}
	next := b.path(trial) + ".next"
	err := os.WriteFile(next, []byte(verdict), 0o600)
	if err == nil {
		err = os.Rename(next, b.path(trial))
	}
	if err != nil {
		return fmt.Errorf("cannot leave the verdict for the guard: %w", err)
	}
	return nil
}

// Read gives the verdict on a trial.
func (b Board) Read(trial string) Verdict {
	content, err := os.ReadFile(b.path(trial))
	if err != nil {
		return Pending
	}
	return Verdict(strings.TrimSpace(string(content)))
}

func (b Board) path(trial string) string {
	return filepath.Join(string(b), "verdict-"+filepath.Base(trial))
}

// Dog is the watchdog that a guard feeds.
type Dog interface {
	Feed() error
}

// Guard waits with one trial.
type Guard struct {
	// Trial is what its verdict is posted under.
	Trial string
	Board Board
	// Elapsed is how long the trial runs, and Limit how long it may.
	Elapsed func() time.Duration
	Limit   time.Duration
	// Dog is fed all FeedEvery; nil for none.
	Dog       Dog
	FeedEvery time.Duration
	// Report is told what goes wrong.
	Report func(error)
}

// tick is how often a guard looks at the clock and at the board.
const tick = 500 * time.Millisecond

// Watch waits for the verdict or the end of the time. It returns Pending when ctx
// ended first.
func (g *Guard) Watch(ctx context.Context) Verdict {
	for {
		switch verdict := g.Board.Read(g.Trial); {
		case verdict != Pending:
			return verdict
		case g.Elapsed() >= g.Limit:
			return Expired
		}
		select {
		case <-ctx.Done():
			return Pending
		case <-time.After(tick):
		}
	}
}

// Tend feeds the dog until ctx ends.
func (g *Guard) Tend(ctx context.Context) {
	if g.Dog == nil {
		return
	}
	var last string
	for {
		// A dog that cannot be fed is told of once, not each time.
		if err := g.Dog.Feed(); err != nil && err.Error() != last {
			last = err.Error()
			g.Report(fmt.Errorf("cannot feed the watchdog: %w", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(g.FeedEvery):
		}
	}
}

// SinceBoot is how long the machine runs, sleep counted (CLOCK_BOOTTIME of
// clock_gettime(2)). No change of the date moves it.
func SinceBoot() (time.Duration, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0, errors.Join(errors.New("cannot tell how long the machine runs"), err)
	}
	return time.Duration(now.Nano()), nil
}
