package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"
)

// crowd are the commands of which several run at once.
var crowd = [][]string{
	{"apply", "--force"}, {"apply", "--force", "--full"}, {"gc"}, {"rollback"}, {"confirm"},
	{"confirm", "--check", "--no-reboot"}, {"guard"}, {"recover"}, {"status"}, {"history"}, {"check"},
}

// impatient are settings by which a guard soon gives up a trial.
const impatient = "[update]\nconfirm_timeout = \"1s\"\n"

// gather has commands run at once, on one machine, round after round.
func gather(ctx context.Context, m *machine, o Options) (happening, error) {
	if err := m.prepare(ctx, workload{prepare: append([]step{with(impatient)}, settled...)}, o.Seed); err != nil {
		return happening{}, fmt.Errorf("cannot prepare the machine: %w", err)
	}
	d, err := attach(m.image)
	if err != nil {
		return happening{}, err
	}
	h := happening{inTurn: true, end: d.detach}
	for n := range o.Rounds {
		chance := rand.New(rand.NewPCG(o.Seed, uint64(n)))
		h.ways = append(h.ways, way{name: fmt.Sprintf("round %d", n), look: func(ctx context.Context) (string, error) { return m.round(ctx, d, chance) }})
	}
	return h, nil
}

// round has some of the crowd run at once, some of them killed, and sees what is left: the machine boots something
// whole, and recover brings it to where nothing is in between.
func (m *machine) round(ctx context.Context, d *disk, chance *rand.Rand) (boots string, err error) {
	if err := m.configure(ctx, d); err != nil {
		return "", err
	}
	var all sync.WaitGroup
	for range 2 + chance.IntN(4) {
		kill, after := chance.IntN(2) == 0, time.Duration(chance.IntN(1500))*time.Millisecond
		program := m.command(ctx, d, m.oneOfTheCrowd(chance)...)
		if err := program.Start(); err != nil {
			return "", err
		}
		all.Go(func() {
			if kill {
				time.Sleep(after)
				_ = program.Process.Signal(syscall.SIGKILL) // or it has ended
			}
			_ = program.Wait() // how it ends says nothing here
		})
	}
	all.Wait()
	if _, err := m.must(ctx, d, "status"); err != nil {
		return "", err
	}
	b, err := m.powerOn(ctx, d)
	if err != nil {
		return "", err
	}
	return b.String(), m.comesUp(ctx, d, b)
}

func (m *machine) oneOfTheCrowd(chance *rand.Rand) []string {
	arguments := crowd[chance.IntN(len(crowd))]
	if arguments[0] != "apply" {
		return arguments
	}
	versions := []string{kernelOnly, second, third, fourth}
	return append(arguments[:len(arguments):len(arguments)], m.bundle(versions[chance.IntN(len(versions))]))
}
