package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/trebuchet-update/tbupdate/sdk"
)

// faulty is the part that both kinds have in common.
type faulty struct {
	kind, name, behaviour string
	setup                 sdk.Setup
}

// record appends a line to the file "record" in the run directory, so that a test
// sees what was called, also after its host was killed.
func (p *faulty) record(line string) {
	if p.setup.RunDirectory == "" {
		return
	}
	file, err := os.OpenFile(filepath.Join(p.setup.RunDirectory, "record"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	if _, err := fmt.Fprintln(file, line); err != nil {
		panic(err)
	}
	if err := file.Close(); err != nil {
		panic(err)
	}
}

func (p *faulty) Describe(context.Context) (sdk.Description, error) {
	d := sdk.Description{
		Name:         p.name,
		Kind:         sdk.Kind(p.kind),
		Version:      "1.0",
		Summary:      "A plugin for tests",
		Keys:         []sdk.Key{{Name: "device", Type: sdk.KeyString}, {Name: "level", Type: sdk.KeyInteger}},
		Capabilities: []sdk.Capability{sdk.CapabilityExchange, "vendor.unknown"},
	}
	switch p.behaviour {
	case "othername":
		d.Name = "somebody-else"
	case "otherkind":
		d.Kind = map[string]sdk.Kind{"fs": sdk.KindBoot, "boot": sdk.KindFS}[p.kind]
	case "hangsindescribe":
		time.Sleep(time.Hour)
	case "diesindescribe":
		fmt.Fprintln(os.Stderr, "out of cheese")
		os.Exit(4)
	}
	return d, nil
}

func (p *faulty) Configure(_ context.Context, setup sdk.Setup) error {
	p.setup = setup
	p.record("configure")
	if p.behaviour == "chatty" {
		fmt.Println("a stray line on standard output")
	}
	if setup.Settings["device"] == "/dev/none" {
		return sdk.Errorf(sdk.CodeNotFound, "open", "/dev/none", "no such device")
	}
	return nil
}

// Check reports this process's surroundings, one finding each, for a test to
// judge.
func (p *faulty) Check(context.Context) ([]sdk.Finding, error) {
	var findings []sdk.Finding
	note := func(subject, problem string) {
		findings = append(findings, sdk.Finding{Severity: sdk.SeverityNote, Subject: subject, Problem: problem})
	}
	for _, variable := range os.Environ() {
		note("environment", variable)
	}
	descriptors, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	for _, d := range descriptors {
		target, err := os.Readlink("/proc/self/fd/" + d.Name())
		if err == nil {
			note("descriptor", d.Name()+" "+target)
		}
	}
	// What a helper inherits.
	output, err := exec.Command("ls", "-l", "/proc/self/fd").Output()
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(output)) {
		if _, after, ok := strings.Cut(line, ":"); ok {
			note("helper", strings.TrimSpace(after))
		}
	}
	return findings, nil
}

func (p *faulty) Close() error {
	p.record("close")
	switch p.behaviour {
	case "failsinclose":
		return sdk.Errorf(sdk.CodeBusy, "unmount", "/run/volume", "target is busy")
	case "diesinclose":
		os.Exit(7)
	case "hangsinclose":
		time.Sleep(time.Hour)
	case "leaveshelper":
		p.startHelper()
	}
	return nil
}

// startHelper leaves a process behind that holds standard error open.
func (p *faulty) startHelper() {
	helper := exec.Command("sleep", "3600")
	helper.Stderr = os.Stderr
	if err := helper.Start(); err != nil {
		panic(err)
	}
	p.record(fmt.Sprintf("helper %d", helper.Process.Pid))
}

// misbehave does what goes wrong in the middle of a call.
func (p *faulty) misbehave(ctx context.Context) error {
	switch p.behaviour {
	case "panics":
		panic("index out of cheese")
	case "dies":
		fmt.Fprintln(os.Stderr, "cannot go on")
		os.Exit(5)
	case "dieswithhelper":
		p.startHelper()
		os.Exit(6)
	case "crashes":
		go func() { panic("in a goroutine of its own") }()
		time.Sleep(time.Hour)
	case "slow":
		return p.work(ctx)
	case "obeys":
		<-ctx.Done()
		return ctx.Err()
	case "deaf":
		p.record("begin")
		time.Sleep(time.Hour)
	}
	return nil
}

// work is a slow change that looks at its context only between its parts.
func (p *faulty) work(ctx context.Context) error {
	p.record("begin")
	for range 20 {
		time.Sleep(100 * time.Millisecond)
		fmt.Fprintln(os.Stderr, "working")
		if ctx.Err() != nil {
			p.record("cancelled")
			return ctx.Err()
		}
	}
	p.record("end")
	return nil
}
