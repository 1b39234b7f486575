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

// inheritArguments gives the arguments of a booted command line that hold for the
// next generation too. trial are those that were added for a trial only.
func inheritArguments(commandLine string, trial []string) []string {
	onTrial := cmdline.Value(commandLine, trialArgument) != ""
	return slices.DeleteFunc(cmdline.Split(commandLine), func(argument string) bool {
		name, _, _ := cmdline.Cut(argument)
		return slices.Contains(dropped, name) || onTrial && slices.Contains(trial, argument)
	})
}

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
	trial = cmdline.Split(s.Policy.TrialArguments)
	var own []string
	if s.Policy.Arguments != nil {
		own = cmdline.Split(*s.Policy.Arguments)
	} else if own, err = statedArguments(path); err != nil {
		return nil, nil, err
	} else if own == nil {
		own = inheritArguments(s.CommandLine, trial)
	}
	// The pin comes last: where an argument is given twice, the last one counts.
	all = slices.Concat(own, pin, []string{generationArgument + "=" + string(id)})
	return all, append(trial, trialArgument+"=1"), nil
}

// statedArguments reads the kernel arguments that a tree states, nil where it
// states none. Arguments that pin a root are left out: the pin is ours.
func statedArguments(path string) ([]string, error) {
	for _, name := range commandLineFiles {
		content, err := readInTree(path, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read the kernel arguments: %w", err)
		}
		arguments := inheritArguments(strings.TrimSpace(string(content)), nil)
		if arguments == nil {
			arguments = []string{}
		}
		return arguments, nil
	}
	return nil, nil
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
