package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/trebuchet-update/tbupdate/core/command"
)

// managed reports whether systemd is the service manager (sd_booted(3)).
func managed() bool {
	info, err := os.Lstat("/run/systemd/system")
	return err == nil && info.IsDir()
}

// Booted gives the check that the system has come up, where systemd runs: the default
// target is reached, and nothing that is to be over before boot-complete.target
// (systemd.special(7)) has failed. That is how programs of the distribution and of
// the operator take part in the judgement: by an ordering before that target.
func Booted() []Check {
	if !managed() {
		return nil
	}
	return []Check{{Name: "boot-complete", Run: func(ctx context.Context, output io.Writer) error {
		unit, err := show(ctx, "default.target")
		if err != nil {
			return err
		}
		if unit["ActiveState"] != "active" {
			return fmt.Errorf("the default target %s is %s", unit["Id"], unit["ActiveState"])
		}
		before, err := show(ctx, "boot-complete.target")
		if err != nil {
			return err
		}
		for name := range strings.FieldsSeq(before["After"]) {
			unit, err := show(ctx, name)
			if err != nil {
				return err
			}
			if unit["ActiveState"] == "failed" {
				return fmt.Errorf("%s failed (%s)%s", name, unit["Result"], otherFailed(ctx, output, name))
			}
		}
		return nil
	}}}
}

// otherFailed lists in the output which units failed, and names those other than one:
// that one may only be the check that says so.
func otherFailed(ctx context.Context, output io.Writer, one string) string {
	list, err := command.Output(ctx, "systemctl", "list-units", "--state=failed", "--plain", "--no-legend", "--no-pager")
	if err != nil {
		return ""
	}
	_, _ = output.Write(list)
	return namesOfUnits(string(list), one)
}

// namesOfUnits gives the names in a list of units, as the end of a clause.
func namesOfUnits(list, except string) string {
	var names []string
	for line := range strings.Lines(list) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] != except {
			names = append(names, fields[0])
		}
	}
	if len(names) == 0 {
		return ""
	}
	return ", as did " + strings.Join(names, ", ")
}

// Units gives a check for each of these units of systemd: that it is active, or has
// done its work.
func Units(names []string) []Check {
	var checks []Check
	for _, name := range names {
		checks = append(checks, Check{Name: "unit " + name, Run: func(ctx context.Context, output io.Writer) error {
			if !managed() {
				return errors.New("systemd does not run, so there are no units")
			}
			unit, err := show(ctx, name)
			if err != nil {
				return err
			}
			if status, _ := command.Output(ctx, "systemctl", "status", "--no-pager", "--lines=20", "--", name); len(status) > 0 {
				_, _ = output.Write(status)
			}
			return judgeUnit(unit)
		}})
	}
	return checks
}

// judgeUnit says what is wrong with a unit of these properties (systemctl(1)).
func judgeUnit(unit map[string]string) error {
	switch {
	case unit["LoadState"] != "loaded":
		return fmt.Errorf("it is %s", unit["LoadState"])
	case unit["ActiveState"] == "active", unit["ActiveState"] == "reloading":
		return nil
	case unit["ActiveState"] == "inactive" && unit["Type"] == "oneshot" && unit["Result"] == "success" && unit["ExecMainExitTimestampMonotonic"] != "0":
		return nil // it ran, and is over
	}
	return fmt.Errorf("it is %s (%s, %s)", unit["ActiveState"], unit["SubState"], unit["Result"])
}

// unitProperties are those that show asks for.
const unitProperties = "Id,LoadState,ActiveState,SubState,Result,Type,After,ExecMainExitTimestampMonotonic"

// show gives properties of a unit.
func show(ctx context.Context, name string) (map[string]string, error) {
	output, err := command.Output(ctx, "systemctl", "show", "--property="+unitProperties, "--", name)
	if err != nil {
		return nil, err
	}
	properties := map[string]string{}
	for line := range strings.Lines(string(output)) {
		name, value, _ := strings.Cut(strings.TrimRight(line, "\n"), "=")
		properties[name] = value
	}
	return properties, nil
}

// Network gives the check that the network is there: with "route" that there is a
// default route, else that HOST:PORT accepts a connection. "" asks for nothing.
func Network(target string) []Check {
	switch target {
	case "":
		return nil
	case "route":
		return []Check{{Name: "network", Run: func(context.Context, io.Writer) error { return checkRoute() }}}
	}
	return []Check{{Name: "network", Run: func(ctx context.Context, _ io.Writer) error {
		var dialer net.Dialer
		connection, err := dialer.DialContext(ctx, "tcp", target)
		if err != nil {
			return fmt.Errorf("cannot connect to %s: %w", target, err)
		}
		return connection.Close()
	}}}
}

// checkRoute looks for a default route in the kernel's tables.
func checkRoute() error {
	four, err := os.ReadFile("/proc/net/route")
	if err == nil && hasRoute4(string(four)) {
		return nil
	}
	six, sixErr := os.ReadFile("/proc/net/ipv6_route")
	if sixErr == nil && hasRoute6(string(six)) {
		return nil
	}
	if err != nil && sixErr != nil {
		return fmt.Errorf("cannot read the routes: %w", err)
	}
	return errors.New("there is no default route")
}

// Flags of a route (linux/route.h).
const (
	routeUp     = 0x0001
	routeReject = 0x0200
)

// hasRoute4 looks for one in /proc/net/route: interface, destination, gateway, flags
// in hex, …, mask as the eighth field.
func hasRoute4(table string) bool {
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) > 7 && fields[1] == "00000000" && fields[7] == "00000000" && usable(fields[3]) && fields[0] != "lo" {
			return true
		}
	}
	return false
}

// hasRoute6 looks for one in /proc/net/ipv6_route: destination, its prefix length in
// hex, …, flags as the ninth field, interface.
func hasRoute6(table string) bool {
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) > 9 && strings.Trim(fields[0], "0") == "" && fields[1] == "00" && usable(fields[8]) && fields[9] != "lo" {
			return true
		}
	}
	return false
}

func usable(flags string) bool {
	value, err := strconv.ParseUint(flags, 16, 32)
	return err == nil && value&routeUp != 0 && value&routeReject == 0
}
