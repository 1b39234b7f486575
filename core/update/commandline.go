package update

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/trebuchet-update/tbupdate/core/generation"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/cmdline"
)

// Arguments of our own on a kernel command line. The kernel hands on what it does
// not know (Documentation/admin-guide/kernel-parameters.rst); those with a dot are
// taken for those of a module and are not handed to init.
const (
	generationArgument = "tbupdate.generation" // which kernel set was booted
	trialArgument      = "tbupdate.trial"      // 1 on a trial boot
)

// dropped are the arguments of a booted command line that belong to that boot and
// not to the machine.
var dropped = []string{"BOOT_IMAGE", "initrd", "root", "rootflags", "rootfstype", generationArgument, trialArgument}

// lastingArguments gives the arguments of a command line that hold for the next
// generation too: without those that pin a root.
func lastingArguments(commandLine string) []string {
	return slices.DeleteFunc(cmdline.Split(commandLine), func(argument string) bool {
		name, _, _ := cmdline.Cut(argument)
		return slices.Contains(dropped, name)
	})
}

// maxCommandLine is the most that a command line may have, in bytes. The kernel cuts
// at COMMAND_LINE_SIZE without a word, 2048 with the end on x86 and arm64; boot
// loaders add to it ("BOOT_IMAGE=…"). The pin stands last and would be cut off.
const maxCommandLine = 1900

// commandLineFiles are where a system states its kernel arguments; the first one
// counts (kernel-install(8)).
var commandLineFiles = []string{"etc/kernel/cmdline", "usr/lib/kernel/cmdline"}

// arguments composes the command line of a generation whose tree is at path and
// which runs from root.
func (s *session) arguments(ctx context.Context, id generation.ID, path string, root sdk.Identity) (all, trial []string, err error) {
	pin, err := s.FS.KernelArguments(ctx, root)
	if err != nil {
		return nil, nil, err
	}
	own, err := s.ownArguments(ctx, path)
	if err != nil {
		return nil, nil, err
	}
	// The pin comes last: where an argument is given twice, the last one counts.
	all = slices.Concat(own, pin, []string{generationArgument + "=" + string(id)})
	trial = append(cmdline.Split(s.Policy.TrialArguments), trialArgument+"=1")
	return all, trial, checkArguments(all, trial)
}

// checkArguments refuses a command line that would not reach the kernel as it is
// meant, above all with the pin: an entry like that would boot some other root.
func checkArguments(all, trial []string) error {
	together := slices.Concat(all, trial)
	line, err := cmdline.Join(together)
	switch {
	case err != nil:
		return refusal(Refused, "cannot compose the kernel command line: %w", err)
	case slices.Contains(together, "--"):
		return refusal(Refused, "cannot compose the kernel command line: it has \"--\", and the kernel takes nothing that follows it")
	case len(line) > maxCommandLine:
		return refusal(Refused, "cannot compose the kernel command line: it has %d bytes, and the kernel may cut it off after %d", len(line), maxCommandLine)
	}
	return nil
}

// ownArguments gives the arguments of a generation beside its pin: those that the
// configuration states, else those that its tree states, else those of the
// generation that runs.
func (s *session) ownArguments(ctx context.Context, path string) ([]string, error) {
	if s.Policy.Arguments != nil {
		return lastingArguments(*s.Policy.Arguments), nil
	}
	stated, found, err := statedArguments(path)
	if err != nil || found {
		return stated, err
	}
	booted, _, err := s.booted(ctx)
	if err != nil {
		return nil, err
	}
	if booted == nil {
		return lastingArguments(s.CommandLine), nil
	}
	state, err := s.Boot.State(ctx)
	if err != nil {
		return nil, err
	}
	// What runs may have been started on trial, or by somebody who edited the line
	// at the boot loader's prompt: its entry says what is to last.
	for _, entry := range state.Entries {
		if entry.ID == string(booted.ID) && entry.CommandLine != "" {
			return lastingArguments(entry.CommandLine), nil
		}
	}
	trial := cmdline.Split(s.Policy.TrialArguments)
	onTrial := cmdline.Value(s.CommandLine, trialArgument) != ""
	return slices.DeleteFunc(lastingArguments(s.CommandLine), func(argument string) bool {
		return onTrial && slices.Contains(trial, argument)
	}), nil
}

// statedArguments reads the kernel arguments that a tree states, without those that
// pin a root, since the pin is ours, and without lines that are comments. found is
// false where it states none.
func statedArguments(path string) (arguments []string, found bool, err error) {
	for _, name := range commandLineFiles {
		content, err := readInTree(path, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, false, fmt.Errorf("cannot read the kernel arguments: %w", err)
		}
		return lastingArguments(withoutComments(string(content))), true, nil
	}
	return nil, false, nil
}

// withoutComments drops the lines that begin with "#".
func withoutComments(text string) string {
	var kept strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// readInTree reads a file below path without leaving it by any link.
func readInTree(path, name string) ([]byte, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.ReadFile(name)
}
