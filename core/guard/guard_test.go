package guard

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"
)

func TestWatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		elapsed time.Duration
		post    Verdict
		stop    bool
		want    Verdict
	}{
		{"the time is up", time.Minute, "", false, Expired},
		{"confirmed", 0, Settled, false, Settled},
		{"confirmed at the last moment", time.Minute, Settled, false, Settled},
		{"given up", 0, Rejected, false, Rejected},
		{"asked to end", 0, "", true, Pending},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			board := Board(t.TempDir() + "/run")
			if err := board.Post("another", Settled); err != nil {
				t.Fatal(err)
			}
			if c.post != "" {
				if err := board.Post("id", c.post); err != nil {
					t.Fatal(err)
				}
			}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			if c.stop {
				stop()
			}
			g := Guard{Trial: "id", Board: board, Limit: time.Minute, Elapsed: func() time.Duration { return c.elapsed }}
			if got := g.Watch(ctx); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// dog counts how often it is fed.
type dog struct {
	fed  atomic.Int32
	sick bool
}

func (d *dog) Feed() error {
	d.fed.Add(1)
	if d.sick {
		return errors.New("no appetite")
	}
	return nil
}

func TestTend(t *testing.T) {
	t.Parallel()
	for _, sick := range []bool{false, true} {
		reports := 0
		d := &dog{sick: sick}
		g := Guard{Dog: d, FeedEvery: 10 * time.Millisecond, Report: func(error) { reports++ }}
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		g.Tend(ctx)
		stop()
		if fed := d.fed.Load(); fed < 10 {
			t.Errorf("fed %d times in a second", fed)
		}
		if want := map[bool]int{true: 1}[sick]; reports != want {
			t.Errorf("%d reports, want %d", reports, want)
		}
	}
	(&Guard{}).Tend(t.Context()) // without a dog it returns
}

func TestSinceBoot(t *testing.T) {
	t.Parallel()
	first, err := SinceBoot()
	if err != nil || first <= 0 {
		t.Fatalf("%s, %v", first, err)
	}
	time.Sleep(20 * time.Millisecond)
	if second, err := SinceBoot(); err != nil || second-first < 10*time.Millisecond || second-first > time.Minute {
		t.Errorf("%s later: %v", second-first, err)
	}
}
