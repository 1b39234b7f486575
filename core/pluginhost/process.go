package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/launch"
)

// Process is a running plugin.
type Process struct {
	spec        Spec
	path        string
	description sdk.Description
	process     *launch.Process

	mu       sync.Mutex
	broken   *Error // why no call can be made any more
	changing int    // calls under way that may change something
}

// Start finds the plugin, judges its file, starts it and asks what it is. The
// caller calls Stop. The error is an *Error, and nothing is left running.
func Start(ctx context.Context, spec Spec) (*Process, error) {
	spec.Limits = spec.Limits.withDefaults()
	path, err := Find(spec)
	if err != nil {
		return nil, err
	}
	program, err := open(spec, path)
	if err != nil {
		return nil, spec.fail(path, err)
	}
	defer func() { _ = program.Close() }() // read-only
	p := &Process{spec: spec, path: path}
	p.process, err = launch.Start(ctx, launch.Config{
		Program:           program,
		Path:              path,
		RunDirectory:      spec.RunDirectory,
		StartTimeout:      spec.Limits.Start,
		CancelGrace:       spec.Limits.ReadGrace,
		ChangeCancelGrace: spec.Limits.ChangeGrace,
		Log:               spec.Log,
		Unary:             p.unary,
		Stream:            p.stream,
	})
	if err != nil {
		return nil, p.startError(err)
	}
	if err := p.introduce(ctx); err != nil {
		_ = p.Stop(ctx) // the first failure is the one to tell
		return nil, err
	}
	return p, nil
}

func open(spec Spec, path string) (*os.File, error) {
	program, err := openTrusted(path)
	if err != nil || spec.SHA256 == "" {
		return program, err
	}
	if err := checkSum(program, spec.SHA256); err != nil {
		return nil, errors.Join(err, program.Close())
	}
	return program, nil
}

func (p *Process) startError(err error) *Error {
	e := p.spec.fail(p.path, fmt.Errorf("cannot be started: %w", err))
	var start *launch.StartError
	if errors.As(err, &start) {
		e.Problem, e.Log = start.Problem, start.LastLines
	}
	return e
}

// introduce asks the plugin what it is, within the time for a start, and checks
// that it is what was asked for.
func (p *Process) introduce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.spec.Limits.Start)
	defer cancel()
	description, err := p.process.Plugin().Describe(ctx)
	if err != nil {
		var host *Error
		if errors.As(err, &host) {
			return host
		}
		return p.fail(fmt.Errorf("cannot describe itself: %w", err))
	}
	if err := p.checkDescription(description); err != nil {
		return p.fail(err)
	}
	p.description = description
	return nil
}

func (p *Process) checkDescription(d sdk.Description) error {
	switch {
	case d.Kind != p.spec.Kind:
		return fmt.Errorf("says that it is of kind %q, not %q", d.Kind, p.spec.Kind)
	case d.Name != p.spec.Name:
		return fmt.Errorf("says that its name is %q", d.Name)
	}
	seen := make(map[string]bool)
	for _, key := range d.Keys {
		if key.Name == "" || seen[key.Name] {
			return fmt.Errorf("announces the setting %q twice or without a name", key.Name)
		}
		seen[key.Name] = true
	}
	return nil
}

// fail makes an *Error about this plugin.
func (p *Process) fail(problem error) *Error {
	e := p.spec.fail(p.path, problem)
	e.Log = p.process.LastLines()
	return e
}

// Path gives the program's path.
func (p *Process) Path() string { return p.path }

// PID gives the process id.
func (p *Process) PID() int { return p.process.PID() }

// Describe gives what the plugin said of itself when it was started.
func (p *Process) Describe(context.Context) (sdk.Description, error) { return p.description, nil }

// Configure gives the plugin its settings. With Spec.Grease it adds an unknown
// capability now and then.
func (p *Process) Configure(ctx context.Context, setup sdk.Setup) error {
	if p.spec.Grease != nil {
		if capability := p.spec.Grease(); capability != "" {
			setup.HostCapabilities = append(setup.HostCapabilities[:len(setup.HostCapabilities):len(setup.HostCapabilities)], capability)
		}
	}
	return p.process.Plugin().Configure(ctx, setup)
}

// Check has the plugin inspect what it works on.
func (p *Process) Check(ctx context.Context) ([]sdk.Finding, error) {
	findings, err := p.process.Plugin().Check(ctx)
	if err != nil {
		return nil, err
	}
	for _, f := range findings {
		if err := checkFinding(f); err != nil {
			return nil, p.nonsense("Check", err)
		}
	}
	return findings, nil
}

// FS gives the contract of a plugin of kind fs. Its answers are checked. Its
// Close is Stop.
func (p *Process) FS() sdk.FS { return checkedFS{FS: p.process.FS(), process: p} }

// Boot gives the contract of a plugin of kind boot. Its answers are checked. Its
// Close is Stop.
func (p *Process) Boot() sdk.Boot { return checkedBoot{Boot: p.process.Boot(), process: p} }

// Changing reports whether a change may be under way: one that was given up, since the
// plugin hangs, may go on until Stop.
func (p *Process) Changing() bool {
	_, changing := p.state()
	return changing
}

// Stop closes the plugin and waits until it is gone; nothing of it is left
// running. A call under way is waited for. ctx does not cut that short, since a
// plugin that is closing may be unmounting: Limits.Stop does, and where a change
// is under way Limits.Change and ChangeGrace on top; then the process is killed.
// Repeated, it gives the same error again.
//
// The error is what the plugin's Close reported, or an *Error.
func (p *Process) Stop(ctx context.Context) error {
	broken, changing := p.state()
	limit := p.spec.Limits.Stop
	if changing {
		limit += p.spec.Limits.Change + p.spec.Limits.ChangeGrace
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	err := p.process.Stop(ctx)
	var reported *sdk.Error
	if err == nil || errors.As(err, &reported) {
		return err
	}
	if broken != nil {
		return broken
	}
	return p.fail(err)
}

// state says why no call can be made any more, and whether a change may be under
// way.
func (p *Process) state() (broken *Error, changing bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.broken, p.changing > 0
}

// setBroken sets why no call can be made any more; the first reason stays.
func (p *Process) setBroken(e *Error) *Error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken == nil {
		p.broken = e
	}
	return p.broken
}

// change counts a change as under way, and changeEnded no longer.
func (p *Process) change() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changing++
}

func (p *Process) changeEnded() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changing--
}
