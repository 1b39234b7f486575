package crash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Case is something that happens to a machine with a boot loader: a loss of power in the middle of a workload, at
// many instants, or a trouble, in many degrees.
type Case struct {
	what   string
	loader loader
	begin  func(ctx context.Context, m *machine, o Options) (happening, error)
}

// happening is a case that has begun: the ways in which it may go.
type happening struct {
	ways []way
	// inTurn is true where each goes on from the one before it, so that none can be left out.
	inTurn bool
	// end lets go of what making them took.
	end func() error
}

// way is one of them.
type way struct {
	// name says which, so that it can be made again.
	name string
	// torn is true where a loss of power left a part of what was written.
	torn bool
	// look makes it so, sees whether all is well, and gives what the machine boots first, as booted has it.
	look func(ctx context.Context) (boots string, err error)
}

// way is one of the machine with a new disk: make makes it, at m.image, and gives what may be booted from it.
func (m *machine) way(name string, make func(ctx context.Context, m *machine) (allowed []string, err error)) way {
	return m.wayOf(name, func(ctx context.Context, m *machine) (boots string, err error) {
		allowed, err := make(ctx, m)
		if err != nil {
			return "", err
		}
		return m.judge(ctx, allowed)
	})
}

// wayOf is one of the machine with a new disk, which look makes at m.image.
func (m *machine) wayOf(name string, look func(ctx context.Context, m *machine) (boots string, err error)) way {
	return way{name: name, look: func(ctx context.Context) (boots string, err error) {
		m := *m
		m.image = filepath.Join(m.work, "state")
		defer func() {
			if removed := os.Remove(m.image); !errors.Is(removed, os.ErrNotExist) {
				err = errors.Join(err, removed)
			}
		}()
		return look(ctx, &m)
	}}
}

// Result is what came of a case.
type Result struct {
	What   string         `json:"what"`
	Loader string         `json:"loader"`
	States int            `json:"states"`           // how many were looked at
	Torn   int            `json:"torn"`             // how many of them are torn
	Boots  map[string]int `json:"boots"`            // how many of them boot what
	Seed   uint64         `json:"seed"`             // where the seeds begin
	Faults []Fault        `json:"faults,omitempty"` // what is wrong with those that are not clean
}

// Fault is a state that is not clean.
type Fault struct {
	State   string `json:"state"` // which
	Problem string `json:"problem"`
}

// Clean gives the number of states that are.
func (r Result) Clean() int { return r.States - len(r.Faults) }

// of reports whether it is what came of the case.
func (r Result) of(c Case) bool { return r.What == c.what && r.Loader == c.loader.name() }

// Name is what happens, and the boot loader.
func (c Case) Name() string { return c.what + "/" + c.loader.name() }

// Cases are all of them.
func Cases() (all []Case) {
	for _, l := range loaders {
		for _, w := range workloads {
			if l.counts() || !w.counts {
				all = append(all, Case{w.name, l, w.begin})
			}
		}
		for _, t := range troubles {
			all = append(all, Case{t.name, l, t.begin})
		}
		for _, r := range rots {
			all = append(all, Case{r.name, l, r.begin})
		}
		all = append(all, Case{"commands at once", l, gather})
	}
	return all
}

// Options say how much is looked at.
type Options struct {
	// Torn is the number of torn states for each gap between two flushes.
	Torn int
	// Most is the number of states of a case to look at, which are then spread over all; 0 for all.
	Most int
	// Rounds is how often commands run at once.
	Rounds int
	// Seed is where the seeds of torn states begin.
	Seed uint64
}

// Try looks at the states of a case. report is told of each of them.
func (s *Workshop) Try(ctx context.Context, c Case, o Options, report func(Result)) (r Result, err error) {
	r = Result{What: c.what, Loader: c.loader.name(), Boots: map[string]int{}, Seed: o.Seed}
	work, err := os.MkdirTemp(s.scratch.Directory, "try-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	m := &machine{Workshop: s, loader: c.loader, image: filepath.Join(work, "disk"), work: work}
	if err := newDisk(ctx, m.image, m.loader, m.systems[first]); err != nil {
		return r, fmt.Errorf("cannot make the machine: %w", err)
	}
	h, err := c.begin(ctx, m, o)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, h.end()) }()
	ways := h.ways
	if !h.inTurn {
		ways = spread(ways, o.Most)
	}
	for _, w := range ways {
		boots, err := w.look(ctx)
		if cause := context.Cause(ctx); cause != nil {
			return r, cause
		}
		r.States++
		if w.torn {
			r.Torn++
		}
		r.Boots[boots]++
		if err != nil {
			r.Faults = append(r.Faults, Fault{w.name, err.Error()})
		}
		report(r)
	}
	return r, nil
}

// spread gives so many of the ways, the first and the last among them.
func spread(ways []way, most int) []way {
	if most == 0 || len(ways) <= most {
		return ways
	}
	some := make([]way, most)
	for i := range some {
		some[i] = ways[i*(len(ways)-1)/max(most-1, 1)]
	}
	return some
}
