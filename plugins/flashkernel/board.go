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
	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/envimage"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/bootdir"
)

// boardTrials is U-Boot's own environment, in which U-Boot itself counts (its options
// CONFIG_BOOTCOUNT_LIMIT and CONFIG_BOOTCOUNT_ENV): at each start with
// upgrade_available it adds one to bootcount, and beyond bootlimit it runs altbootcmd
// instead of bootcmd.
type boardTrials struct {
	config    string // of fw_setenv
	redundant bool   // U-Boot was built for two copies
}

// The commands that U-Boot runs at a start, and beyond the limit. Where one is not set
// U-Boot stops there, and waits for somebody at its prompt. What altbootcmd is then set
// to comes to the same script as every start, and the chooser there to the default.
const (
	variableCommand     = "bootcmd"
	variableAlternative = "altbootcmd"
	alternative         = "run bootcmd"
)

// initialEnvironment is the file from which libubootenv makes an environment anew.
const initialEnvironment = "/etc/u-boot-initial-env"

func (b boardTrials) read(ctx context.Context) (now chooser.Trial, named []string, err error) {
	variables, _, err := b.print(ctx)
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
	changes := trial.Variables()
	if trial.ID != "" {
		now, lost, err := b.print(ctx)
		if err != nil {
			return err
		}
		// A new environment is all that U-Boot goes by from then on.
		if lost && now[variableCommand] == "" {
			return sdk.Errorf(sdk.CodeCorrupt, "write", "U-Boot's environment", "it was lost, and %s, from which it would be made anew, has no %s", initialEnvironment, variableCommand)
		}
		// A trial must not begin without a way back. It is missing on a new board, and
		// where an environment was lost.
		if now[variableAlternative] == "" {
			changes = append(changes, envimage.Variable{Name: variableAlternative, Value: alternative})
		}
	}
	var script strings.Builder
	for _, v := range changes {
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
	if _, _, err := b.run(ctx, "fw_setenv", "-s", file.Name()); err != nil {
		return err
	}
	variables, _, err := b.print(ctx)
	if err != nil {
		return err
	}
	for _, v := range changes {
		if got := variables[v.Name]; got != v.Value {
			return sdk.Errorf(sdk.CodeCorrupt, "write", "U-Boot's environment", "%s is %q and not %q after fw_setenv", v.Name, got, v.Value)
		}
	}
	return nil
}

// print gives U-Boot's environment. lost says that there is none which is whole, so
// that these are the variables that U-Boot has by itself, and goes by as well.
func (b boardTrials) print(ctx context.Context) (variables map[string]string, lost bool, err error) {
	output, complaint, err := b.run(ctx, "fw_printenv")
	if err != nil {
		return nil, false, err
	}
	variables = map[string]string{}
	for line := range strings.Lines(output) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
			variables[name] = value
		}
	}
	// What libubootenv and U-Boot's own tool say has these words in common.
	return variables, strings.Contains(complaint, "using default"), nil
}

// run runs one of the two programs of U-Boot's environment.
func (b boardTrials) run(ctx context.Context, program string, arguments ...string) (output, complaint string, err error) {
	path, err := findProgram(program)
	if err != nil {
		return "", "", err
	}
	run := exec.CommandContext(ctx, path, append([]string{"-c", b.config}, arguments...)...)
	run.Env = []string{"LC_ALL=C"}
	run.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	run.Stdout, run.Stderr = &stdout, &stderr
	if err := run.Run(); err != nil {
		if ctx.Err() != nil {
			return "", "", ctx.Err()
		}
		return "", "", fmt.Errorf("%s: %w: %s", program, err, strings.ReplaceAll(strings.TrimSpace(stderr.String()), "\n", "; "))
	}
	return stdout.String(), stderr.String(), nil
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
	config, err := os.ReadFile(b.config)
	if err != nil {
		return []sdk.Finding{bootdir.Blocking(b.config, "write it for this board, or set "+keyEnvConfig, "it cannot be read, so fw_setenv does not know where U-Boot's environment is: %v", err)}, nil
	}
	variables, lost, err := b.print(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		return []sdk.Finding{bootdir.Blocking(subject, "install libubootenv-tool, and compare "+b.config+" with the board's U-Boot; where the environment was lost, write "+initialEnvironment, "it cannot be read: %v", err)}, nil
	}
	var findings []sdk.Finding
	if copies := copiesIn(string(config)); copies > 0 && (copies > 1) != b.redundant {
		findings = append(findings, bootdir.Blocking(b.config, fmt.Sprintf("set %s = %t, or name what U-Boot was built for", keyRedundant, !b.redundant),
			"it names %d copy or copies of the environment, and %s is %t; U-Boot does not read files for one that was built otherwise", copies, keyRedundant, b.redundant))
	}
	if lost {
		findings = append(findings, bootdir.Warning(subject, "compare "+b.config+" with the board's U-Boot; if it is right, the next trial writes a new one",
			"it is not whole where %s says that it is, so that U-Boot goes by the variables that it has by itself", b.config))
	}
	if problem := initialProblem(); problem != "" && !b.redundant {
		findings = append(findings, bootdir.Warning(initialEnvironment, "write the variables there that U-Boot has by itself (\"make u-boot-initial-env\" where it is built)",
			"%s, and libubootenv makes a new environment from it when power is lost while the only one is written", problem))
	}
	if command := variables[variableAlternative]; command != "" && !strings.Contains(command, variableCommand) {
		findings = append(findings, bootdir.Warning(subject, "make sure that it runs the same boot.scr, as \""+alternative+"\" does", "altbootcmd is %q, which may not come to the default generation", command))
	}
	return findings, nil
}

// initialProblem says why no environment can be made anew, "" where it can.
func initialProblem() string {
	content, err := os.ReadFile(initialEnvironment)
	switch {
	case err != nil:
		return fmt.Sprintf("it cannot be read (%v)", err)
	case !strings.Contains("\n"+string(content), "\n"+variableCommand+"="):
		return "it has no " + variableCommand
	}
	return ""
}

// copiesIn counts the copies of the environment that a configuration of fw_setenv
// names, one a line; 0 for one in another form.
func copiesIn(config string) int {
	copies := 0
	for line := range strings.Lines(config) {
		if strings.HasPrefix(strings.TrimSpace(line), "/") {
			copies++
		}
	}
	return copies
}
