package arm64tree

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// run runs a program. What it says is in the error, if it fails.
func run(ctx context.Context, program string, arguments ...string) error {
	command := exec.CommandContext(ctx, program, arguments...)
	command.Env = append(os.Environ(), "LC_ALL=C")
	output, err := command.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s failed: %w\n%s", program, err, strings.TrimSpace(string(output)))
	}
	return nil
}
