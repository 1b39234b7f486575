package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/chooser"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/bootdir"
)

// boardTrials is U-Boot's own environment, in which U-Boot itself counts (its option
// CONFIG_BOOTCOUNT_LIMIT): at each start with upgrade_available it adds one to
// bootcount, and beyond bootlimit it runs altbootcmd instead of bootcmd.
type boardTrials struct {
	config string // of fw_setenv
}

// variableAlternative is the command that U-Boot runs beyond the limit.
const variableAlternative = "altbootcmd"

func (b boardTrials) read(ctx context.Context) (now chooser.Trial, named []string, err error) {
	variables, err := b.print(ctx)
	if err != nil {
		return chooser.Trial{}, nil, err
	}
	now = chooser.TrialOf(func(name string) string { return variables[name] })
	if now.Left() > 0 {
		named = append(named, now.ID)
	}
	return now, named, nil
}

// write changes all variables by one call, since each writes the whole environment. The
// change is read back: a file that fw_setenv does not understand it passes over, with
// success.
func (b boardTrials) write(ctx context.Context, trial chooser.Trial) error {
	var script strings.Builder
	for _, v := range trial.Variables() {
		script.WriteString(v.Name + "=" + v.Value + "\n")
	}
	file, err := os.CreateTemp("", "tbupdate-environment-")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.WriteString(script.String())
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	if _, err := b.run(ctx, "fw_setenv", "-s", file.Name()); err != nil {
		return err
	}
	variables, err := b.print(ctx)
	if err != nil {
		return err
	}
	for _, v := range trial.Variables() {
		if got := variables[v.Name]; got != v.Value {
			return sdk.Errorf(sdk.CodeCorrupt, "write", "U-Boot's environment", "%s is %q and not %q after fw_setenv", v.Name, got, v.Value)
		}
	}
	return nil
}

// print gives U-Boot's environment.
func (b boardTrials) print(ctx context.Context) (map[string]string, error) {
	output, err := b.run(ctx, "fw_printenv")
	if err != nil {
		return nil, err
	}
	variables := map[string]string{}
	for line := range strings.Lines(string(output)) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
			variables[name] = value
		}
	}
	return variables, nil
}

// run runs one of the two programs of U-Boot's environment.
func (b boardTrials) run(ctx context.Context, program string, arguments ...string) ([]byte, error) {
	path, err := findProgram(program)
	if err != nil {
		return nil, err
	}
	run := exec.CommandContext(ctx, path, append([]string{"-c", b.config}, arguments...)...)
	run.Env = []string{"LC_ALL=C"}
	run.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	run.Stdout, run.Stderr = &stdout, &stderr
	if err := run.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%s: %w: %s", program, err, strings.ReplaceAll(strings.TrimSpace(stderr.String()), "\n", "; "))
	}
	return stdout.Bytes(), nil
}

// findProgram looks in the usual places: a plugin is started without a PATH.
func findProgram(name string) (string, error) {
	for _, directory := range []string{"/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(directory + "/" + name); err == nil {
			return path, nil
		}
	}
	return "", sdk.Errorf(sdk.CodeNotFound, "run", name, "it is not installed; it is part of libubootenv-tool or u-boot-tools")
}

func (b boardTrials) check(ctx context.Context) ([]sdk.Finding, error) {
	const subject = "U-Boot's environment"
	if _, err := os.Stat(b.config); err != nil {
		return []sdk.Finding{bootdir.Blocking(b.config, "write it for this board, or set "+keyEnvConfig, "it cannot be read, so fw_setenv does not know where U-Boot's environment is: %v", err)}, nil
	}
	variables, err := b.print(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		return []sdk.Finding{bootdir.Blocking(subject, "install libubootenv-tool, and compare "+b.config+" with the board's U-Boot", "it cannot be read: %v", err)}, nil
	}
	switch alternative := variables[variableAlternative]; {
	case alternative == "":
		return []sdk.Finding{bootdir.Blocking(subject, "fw_setenv altbootcmd 'run bootcmd'", "altbootcmd is not set, so beyond bootlimit U-Boot starts nothing")}, nil
	case !strings.Contains(alternative, "bootcmd"):
		return []sdk.Finding{bootdir.Warning(subject, "make sure that it runs the same boot.scr, as \"run bootcmd\" does", "altbootcmd is %q, which may not come to the default generation", alternative)}, nil
	}
	return nil, nil
}
