package crash

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// workload is something that the updater does while the power may go.
type workload struct {
	name string
	// prepare brings the machine to where it begins.
	prepare []step
	// interrupted is for what is done before and is itself cut short by a loss of power, after so much of its
	// requests to the disk, of 1; the machine is on again then. nil for nothing.
	interrupted step
	after       float64
	// act is what the power may cut short.
	act step
	// allowed is what the machine may boot from when the power went, as booted has it.
	allowed []string
	// counts is true for what needs a boot loader that counts.
	counts bool
}

// twoTries are settings by which a trial is tried twice.
const twoTries = "[update]\ntries = 2\n"

// step is something that is done to a machine.
type step func(ctx context.Context, m *machine, d *disk) error

// updater has the updater do something.
func updater(arguments ...string) step { return ends(0, arguments...) }

// ends has the updater do something that ends with this exit code.
func ends(exit int, arguments ...string) step {
	return func(ctx context.Context, m *machine, d *disk) error {
		a, err := m.tbupdate(ctx, d, nil, arguments...)
		if err == nil {
			err = a.mustBe(exit)
		}
		return err
	}
}

// applies has the update to a version applied.
func applies(version string, options ...string) step {
	return func(ctx context.Context, m *machine, d *disk) error {
		return updater(append([]string{"apply", m.bundle(version)}, options...)...)(ctx, m, d)
	}
}

// starts switches the machine on, whatever it boots.
func starts(ctx context.Context, m *machine, d *disk) error {
	_, err := m.powerOn(ctx, d)
	return err
}

// with gives the machine settings.
func with(settings string) step {
	return func(_ context.Context, m *machine, _ *disk) error {
		m.settings = settings
		return nil
	}
}

// steps puts lists of steps together.
func steps(lists ...[]step) (all []step) {
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}

// The versions of the systems. kernelOnly is the first one with another kernel.
const (
	first      = "1.0"
	kernelOnly = "1.1"
	second     = "2.0"
	third      = "3.0"
	fourth     = "4.0"
	onTrial    = " on trial"
)

// settled is the way to a machine that runs the first system, tried to one that tries another,
// and confirmed to one that runs it.
var settled = []step{updater("init"), starts}

func tried(version string) []step { return []step{applies(version), starts, updater("recover")} }

func confirmed(version string) []step {
	return append(tried(version), updater("confirm"), starts, updater("recover"))
}

// workloads are all of them.
var workloads = []workload{
	{name: "init", act: updater("init"), allowed: []string{first}},
	{name: "apply", prepare: settled, act: applies(second), allowed: []string{first, second + onTrial}},
	{name: "apply all of it", prepare: settled, act: applies(second, "--full"), allowed: []string{first, second + onTrial}},
	{name: "apply a kernel", prepare: settled, act: applies(kernelOnly), allowed: []string{first, kernelOnly + onTrial}},
	{
		name: "apply another", prepare: steps(settled, []step{applies(second), updater("rollback")}), act: applies(kernelOnly),
		allowed: []string{first, kernelOnly + onTrial},
	},
	{
		name: "apply again", prepare: steps(settled, confirmed(second)), act: applies(third),
		allowed: []string{second, third + onTrial},
	},
	{name: "apply what is damaged", prepare: settled, act: appliesDamaged, allowed: []string{first}},
	{name: "apply without room", prepare: settled, act: appliesWithoutRoom, allowed: []string{first}},
	{name: "apply, stopped", prepare: settled, act: appliesStopped, allowed: []string{first}},
	{name: "apply with tries", prepare: steps([]step{with(twoTries)}, settled), act: applies(second), allowed: []string{first, second + onTrial}, counts: true},
	// The trial is used up: what is not confirmed yet comes back.
	{name: "confirm", prepare: steps(settled, tried(second)), act: updater("confirm"), allowed: []string{first, second}},
	{name: "roll back", prepare: steps(settled, confirmed(second)), act: updater("rollback"), allowed: []string{second, first}},
	{name: "give up a trial", prepare: steps(settled, tried(second)), act: updater("rollback"), allowed: []string{first}},
	{name: "fall back", prepare: steps(settled, []step{applies(second), starts, starts}), act: updater("recover"), allowed: []string{first}},
	// The second try is under way, and there is no third.
	{
		name: "confirm the second try", prepare: steps([]step{with(twoTries)}, settled, tried(second), []step{starts, updater("recover")}),
		act: updater("confirm"), allowed: []string{first, second}, counts: true,
	},
	{
		name: "recover the second try", prepare: steps([]step{with(twoTries)}, settled, tried(second), []step{starts}),
		act: updater("recover"), allowed: []string{first}, counts: true,
	},
	{
		name: "collect", prepare: steps([]step{with("[update]\nkeep = 3\n")}, settled, confirmed(second), confirmed(third), []step{with("")}),
		act: updater("gc"), allowed: []string{third},
	},
	{name: "recover early", prepare: settled, interrupted: applies(second), after: 0.3, act: updater("recover"), allowed: []string{first}},
	{name: "recover late", prepare: settled, interrupted: applies(second), after: 0.9, act: updater("recover"), allowed: []string{first}},
	{
		name: "recover a roll back", prepare: steps(settled, confirmed(second)), interrupted: updater("rollback"), after: 0.5,
		act: updater("recover"), allowed: []string{first, second},
	},
}

// appliesDamaged has an update applied that ends too early.
func appliesDamaged(ctx context.Context, m *machine, d *disk) error {
	content, err := os.ReadFile(m.bundle(second))
	if err != nil {
		return err
	}
	damaged := filepath.Join(m.work, "damaged")
	if err := os.WriteFile(damaged, content[:len(content)*9/10], 0o600); err != nil {
		return err
	}
	return ends(3, "apply", "--full", damaged)(ctx, m, d)
}

// appliesWithoutRoom has an update applied, and when a half of it has come somebody else fills the volume.
func appliesWithoutRoom(ctx context.Context, m *machine, d *disk) error {
	return m.appliesFed(ctx, d, noRoom, func(half, rest []byte, stdin io.WriteCloser, _ *os.Process) error {
		if _, err := stdin.Write(half); err != nil {
			return err
		}
		if err := fill(d, 0); err != nil {
			return err
		}
		_, _ = stdin.Write(rest) // the updater may be gone before it has all
		return stdin.Close()
	})
}

// appliesStopped has an update applied of which a half comes, and then SIGTERM.
func appliesStopped(ctx context.Context, m *machine, d *disk) error {
	return m.appliesFed(ctx, d, 1, func(half, _ []byte, stdin io.WriteCloser, process *os.Process) error {
		if _, err := stdin.Write(half); err != nil {
			return err
		}
		return process.Signal(unix.SIGTERM)
	})
}

// appliesFed has an update applied that feed gives to the updater, which ends with this exit code.
func (m *machine) appliesFed(ctx context.Context, d *disk, exit int, feed func(half, rest []byte, stdin io.WriteCloser, process *os.Process) error) error {
	content, err := os.ReadFile(m.bundle(second))
	if err != nil {
		return err
	}
	half := len(content) / 2
	a, err := m.tbupdate(ctx, d, func(stdin io.WriteCloser, process *os.Process) error {
		return feed(content[:half], content[half:], stdin, process)
	}, "apply", "--full", "-")
	if err == nil {
		err = a.mustBe(exit)
	}
	return err
}

// play has steps done.
func play(ctx context.Context, m *machine, d *disk, steps []step) error {
	for i, step := range steps {
		if err := step(ctx, m, d); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return nil
}
