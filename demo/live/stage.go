package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/trebuchet-update/tbupdate/lab/guest/protocol"
	"github.com/trebuchet-update/tbupdate/lab/qemu"
)

// stage is the machine, and the commentary on it.
type stage struct {
	machine   *qemu.Machine
	position  int       // up to where the console was shown
	start     time.Time // when the machine last started
	starts    int
	began     time.Time
	backAfter time.Duration
}

// Colours for a terminal.
func style(code, text string) string {
	info, err := os.Stdout.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 || os.Getenv("NO_COLOR") != "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *stage) chapter(title string) {
	fmt.Printf("\n%s\n", style("1;34", "== "+title))
}

func (s *stage) say(text string) { fmt.Println(style("2", text)) }

func (s *stage) proven(format string, arguments ...any) {
	fmt.Printf("%s  %s\n", style("32", "ok"), fmt.Sprintf(format, arguments...))
}

// telling are the lines of the console that are worth a reader's time.
var telling = []struct {
	pattern *regexp.Regexp
	show    string // with the pattern's groups
}{
	{regexp.MustCompile("Booting `(.*)'"), "GRUB boots $1"},
	{regexp.MustCompile(`Linux version (\S+)`), "Linux $1"},
	{regexp.MustCompile(`systemd\[1\]: systemd (\S+) running`), "systemd $1"},
	{regexp.MustCompile(`(tbupdate: .*)`), "$1"},
	{regexp.MustCompile(`((?:passed  |Generation .* is good).*)`), "$1"},
	{regexp.MustCompile(`(Generation .* was rolled back.*)`), "$1"},
	{regexp.MustCompile(`(reboot: .*)`), "$1"},
	{regexp.MustCompile(`(Kernel panic.*)`), "$1"},
	{regexp.MustCompile("^" + protocol.Up + " (.*)"), "up: $1"},
}

// until shows the console up to a line that matches.
func (s *stage) until(ctx context.Context, pattern *regexp.Regexp) error {
	for {
		line, next, err := s.machine.Console.Wait(ctx, s.position, regexp.MustCompile(""))
		if err != nil {
			return err
		}
		s.position = next
		s.show(line)
		if pattern.MatchString(line.Text) {
			return nil
		}
	}
}

func (s *stage) show(line qemu.Line) {
	if line.Machine && (line.Text == "power on" || line.Text == "RESET") {
		if line.Time.Sub(s.start) < time.Second {
			return // one reset may be told of twice
		}
		s.start = line.Time
		s.starts++
		s.print(line.Time, style("1", strings.ToLower(line.Text)))
		return
	}
	for _, t := range telling {
		match := t.pattern.FindStringSubmatchIndex(line.Text)
		if match == nil {
			continue
		}
		s.print(line.Time, string(t.pattern.ExpandString(nil, t.show, line.Text, match)))
		return
	}
}

func (s *stage) print(when time.Time, text string) {
	fmt.Printf("  %s  %s\n", style("2", fmt.Sprintf("%5.1f s", when.Sub(s.start).Seconds())), text)
}

// untilUp waits for a system to be up, and for it to be the release.
func (s *stage) untilUp(ctx context.Context, release string) error {
	if err := s.until(ctx, regexp.MustCompile("^"+protocol.Up+" ")); err != nil {
		return err
	}
	if err := s.machine.WaitUp(ctx); err != nil {
		return err
	}
	return s.prove(ctx, "running", ". /etc/os-release; echo release $IMAGE_VERSION", "release "+release)
}

// runAll shows commands and what they print in the machine. The machine may end with
// one that reboots it.
func (s *stage) runAll(ctx context.Context, commands ...string) error {
	for _, command := range commands {
		fmt.Printf("\n%s\n", style("1", "gateway# "+command))
		answer, err := s.machine.Run(ctx, command+" 2>&1")
		if errors.Is(err, qemu.ErrReset) {
			return nil
		}
		if err != nil {
			return err
		}
		for line := range strings.Lines(answer.Stdout) {
			fmt.Print("  " + line)
		}
		if answer.Exit != 0 {
			return fmt.Errorf("%q ended with %d", command, answer.Exit)
		}
	}
	fmt.Println()
	return nil
}

// prove makes sure of something.
func (s *stage) prove(ctx context.Context, what, command, want string) error {
	answer, err := s.machine.Run(ctx, command)
	if err != nil {
		return err
	}
	if have := strings.TrimSpace(answer.Stdout); have != want {
		return fmt.Errorf("%s: %q instead of %q", what, have, want)
	}
	s.proven("%s: %s", what, want)
	return nil
}

func (s *stage) powerOff(ctx context.Context) error {
	if _, err := s.machine.Run(ctx, "systemctl poweroff"); err != nil && !errors.Is(err, qemu.ErrOff) {
		return err
	}
	return s.machine.WaitOff(ctx)
}
