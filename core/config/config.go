// Package config reads the device's configuration file. Every complaint names
// the file, the line and the column, and says what is allowed.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// DefaultPath is where the configuration stands unless --config says otherwise.
const DefaultPath = "/etc/tbupdate/config.toml"

// Config is the device's configuration, with the defaults filled in.
type Config struct {
	System  System
	FS      Backend
	Boot    Boot
	Update  Update
	Health  Health
	Trust   Trust
	Server  Server
	Plugins Plugins

	// path and positions serve the messages of later checks.
	path      string
	positions map[string]position
}

// System says what machine this is; bundles name the machines that they are for.
type System struct {
	Product  string `toml:"product"`
	Hardware string `toml:"hardware"`
}

// Backend chooses a plugin and holds its settings.
type Backend struct {
	Plugin string `toml:"plugin"`
	// SHA256 pins the plugin program, in hex; "" does not.
	SHA256 string `toml:"sha256"`
	// Config are the plugin's own settings, checked by CheckSettings once the
	// plugin has said which it knows.
	Config map[string]any `toml:"config"`
}

// Boot is the Backend of the boot loader, and what the updater itself adds to
// kernel command lines.
type Boot struct {
	Backend
	// Arguments are the kernel arguments of every generation, without those that
	// pin its root. nil takes them from the new system's /etc/kernel/cmdline, else
	// from what was booted.
	Arguments *string `toml:"arguments"`
	// TrialArguments are added for a trial only.
	TrialArguments string `toml:"trial_arguments"`
}

// Update holds the policy of updates.
type Update struct {
	// Tries is how often a trial is booted before the loader gives it up, 1 to 9.
	Tries int `toml:"tries"`
	// Keep is how many good generations stay installed, the running one counted.
	Keep int `toml:"keep"`
	// ConfirmTimeout is how long a trial may run without being confirmed.
	ConfirmTimeout Duration `toml:"confirm_timeout"`
	// Reboot is "now" or "manual".
	Reboot string `toml:"reboot"`
	// Health is the directory of health checks.
	Health string `toml:"health"`
	// Watchdog is what resets the machine when a trial hangs: "auto" for the first
	// device there is, "off", or the path of a device.
	Watchdog string `toml:"watchdog"`
	// WatchdogTimeout is how long a trial may hang before it is reset.
	WatchdogTimeout Duration `toml:"watchdog_timeout"`
}

// Values of Update.Watchdog that are not paths.
const (
	WatchdogAuto = "auto"
	WatchdogOff  = "off"
)

// Health says what a trial has to prove before it is confirmed, beside the
// programs in Update.Health.
type Health struct {
	// Timeout limits each check.
	Timeout Duration `toml:"timeout"`
	// Settle is how long checks that fail are repeated before they count.
	Settle Duration `toml:"settle"`
	// Verify says what of a trial is read again from the disk.
	Verify string `toml:"verify"`
	// Units are units of the service manager that must be active.
	Units []string `toml:"units"`
	// Network is "" for no check, "route" for a default route, or HOST:PORT for a
	// TCP connection.
	Network string `toml:"network"`
	// Evidence bounds each file that is kept of a failed trial, in bytes; 0 keeps
	// none.
	Evidence int64 `toml:"evidence"`
}

// Values of Health.Verify.
const (
	VerifyFull     = "full"     // its kernel set, and its tree
	VerifyRecorded = "recorded" // its kernel set; of its tree counts what was recorded
)

// NetworkRoute is the value of Health.Network that asks for a default route.
const NetworkRoute = "route"

// Values of Update.Reboot.
const (
	RebootNow    = "now"
	RebootManual = "manual"
)

// Trust says whose bundles are accepted.
type Trust struct {
	// Keys is the directory with the public keys, *.pub.
	Keys string `toml:"keys"`
	// Threshold is how many of them have to have signed a bundle.
	Threshold int `toml:"threshold"`
}

// Server names the fleet server.
type Server struct {
	URL    string `toml:"url"`
	Tenant string `toml:"tenant"`
}

// Plugins says where plugin programs are looked for.
type Plugins struct {
	// Dirs are searched in order; nil means the standard places.
	Dirs []string `toml:"dirs"`
}

// Duration is a time.Duration written as "5m" or "90s".
type Duration time.Duration

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil || parsed < 0 {
		return fmt.Errorf("%q is not a duration such as \"90s\" or \"5m\"", text)
	}
	*d = Duration(parsed)
	return nil
}

// Error is a complaint about the configuration, for people.
type Error struct {
	Path         string
	Line, Column int // 0 where the complaint is about the whole file
	Problem      string
}

// Error gives "PATH:LINE:COLUMN: PROBLEM".
func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.Path, e.Problem)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.Path, e.Line, e.Column, e.Problem)
}

// Default gives the configuration of a machine that has no file.
func Default() *Config {
	return &Config{
		// A crash reboots, and PID 1 has the watchdog from its start where it is
		// systemd (kernel-command-line(7)); others ignore the argument.
		Boot: Boot{TrialArguments: "panic=10 systemd.watchdog_sec=60"},
		Update: Update{
			Tries: 1, Keep: 2, ConfirmTimeout: Duration(5 * time.Minute), Reboot: RebootNow, Health: "/etc/tbupdate/health.d",
			Watchdog: WatchdogAuto, WatchdogTimeout: Duration(time.Minute),
		},
		Health: Health{Timeout: Duration(time.Minute), Verify: VerifyFull, Evidence: 1 << 20},
		Trust:  Trust{Keys: "/etc/tbupdate/keys.d", Threshold: 1},
		Server: Server{Tenant: "default"},
		path:   "(no configuration file)",
	}
}

// Load reads the file. Where mustExist is false, a machine without the file gets
// the defaults. Errors are *Error.
func Load(path string, mustExist bool) (*Config, error) {
	document, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !mustExist {
		return Default(), nil
	}
	if err != nil {
		cause := err
		var pathError *fs.PathError
		if errors.As(err, &pathError) {
			cause = pathError.Err
		}
		return nil, &Error{Path: path, Problem: fmt.Sprintf("cannot read the configuration: %v", cause)}
	}
	return Parse(path, document)
}

// Parse reads a document that came from path. Errors are *Error.
func Parse(path string, document []byte) (*Config, error) {
	c := Default()
	c.path = path
	// The TOML library takes no pointers to embedded structs' fields by table
	// name, so the file's shape stands here once.
	shape := struct {
		System *System `toml:"system"`
		FS     *struct {
			Plugin string         `toml:"plugin"`
			SHA256 string         `toml:"sha256"`
			Config map[string]any `toml:"config"`
		} `toml:"fs"`
		Boot *struct {
			Plugin         string         `toml:"plugin"`
			SHA256         string         `toml:"sha256"`
			Config         map[string]any `toml:"config"`
			Arguments      *string        `toml:"arguments"`
			TrialArguments *string        `toml:"trial_arguments"`
		} `toml:"boot"`
		Update  *Update  `toml:"update"`
		Health  *Health  `toml:"health"`
		Trust   *Trust   `toml:"trust"`
		Server  *Server  `toml:"server"`
		Plugins *Plugins `toml:"plugins"`
	}{System: &c.System, Update: &c.Update, Health: &c.Health, Trust: &c.Trust, Server: &c.Server, Plugins: &c.Plugins}
	decoder := toml.NewDecoder(bytes.NewReader(document)).DisallowUnknownFields()
	if err := decoder.Decode(&shape); err != nil {
		return nil, complain(path, err)
	}
	if shape.FS != nil {
		c.FS = Backend(*shape.FS)
	}
	if b := shape.Boot; b != nil {
		c.Boot.Backend = Backend{Plugin: b.Plugin, SHA256: b.SHA256, Config: b.Config}
		c.Boot.Arguments = b.Arguments
		if b.TrialArguments != nil {
			c.Boot.TrialArguments = *b.TrialArguments
		}
	}
	c.positions = findPositions(document)
	return c, c.checkValues()
}

// checkValues refuses values that are of the right type and still wrong.
func (c *Config) checkValues() error {
	switch u := c.Update; {
	case u.Tries < 1 || u.Tries > 9:
		return c.at("update.tries", fmt.Sprintf("tries is %d; 1 to 9 are allowed", u.Tries))
	case u.Keep < 1:
		return c.at("update.keep", fmt.Sprintf("keep is %d; 1 or more are allowed, since the running generation counts", u.Keep))
	case time.Duration(u.ConfirmTimeout) < time.Second:
		return c.at("update.confirm_timeout", "confirm_timeout must be a duration of a second or more, such as \"90s\" or \"5m\"")
	case u.Reboot != RebootNow && u.Reboot != RebootManual:
		return c.at("update.reboot", fmt.Sprintf("reboot is %q; allowed are %q and %q", u.Reboot, RebootNow, RebootManual))
	case u.Watchdog != WatchdogAuto && u.Watchdog != WatchdogOff && !strings.HasPrefix(u.Watchdog, "/"):
		return c.at("update.watchdog", fmt.Sprintf("watchdog is %q; allowed are %q, %q and the path of a device", u.Watchdog, WatchdogAuto, WatchdogOff))
	case time.Duration(u.WatchdogTimeout) < 2*time.Second:
		return c.at("update.watchdog_timeout", "watchdog_timeout must be a duration of two seconds or more, such as \"60s\"")
	}
	if c.Trust.Threshold < 1 {
		return c.at("trust.threshold", fmt.Sprintf("threshold is %d; 1 or more are allowed, or any bundle would be accepted", c.Trust.Threshold))
	}
	return c.checkHealth()
}

// checkHealth refuses health settings that could never be met.
func (c *Config) checkHealth() error {
	h := c.Health
	if time.Duration(h.Timeout) < time.Second {
		return c.at("health.timeout", "timeout must be a duration of a second or more, such as \"60s\"")
	}
	if h.Settle >= c.Update.ConfirmTimeout {
		return c.at("health.settle", fmt.Sprintf("settle must be shorter than update.confirm_timeout, which is %s", time.Duration(c.Update.ConfirmTimeout)))
	}
	if h.Evidence < 0 {
		return c.at("health.evidence", fmt.Sprintf("evidence is %d; 0 or more bytes are allowed", h.Evidence))
	}
	if h.Verify != VerifyFull && h.Verify != VerifyRecorded {
		return c.at("health.verify", fmt.Sprintf("verify is %q; allowed are %q and %q", h.Verify, VerifyFull, VerifyRecorded))
	}
	if h.Network == "" || h.Network == NetworkRoute {
		return nil
	}
	if host, port, err := net.SplitHostPort(h.Network); err != nil || host == "" || port == "" {
		return c.at("health.network", fmt.Sprintf("network is %q; allowed are %q and HOST:PORT", h.Network, NetworkRoute))
	}
	return nil
}

// at makes a complaint about the key with this dotted name; where the key has no
// place of its own (inline tables) it points to what it is in.
func (c *Config) at(key, problem string) *Error {
	p, found := c.positions[key]
	for dot := strings.LastIndexByte(key, '.'); !found && dot >= 0; dot = strings.LastIndexByte(key, '.') {
		key = key[:dot]
		p, found = c.positions[key]
	}
	return &Error{Path: c.path, Line: p.line, Column: p.column, Problem: problem}
}

// complain turns an error of the TOML library into ours.
func complain(path string, err error) *Error {
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) && len(unknown.Errors) > 0 {
		first := unknown.Errors[0]
		line, column := first.Position()
		key := first.Key()
		return &Error{Path: path, Line: line, Column: column,
			Problem: fmt.Sprintf("unknown key %q; allowed here: %s", strings.Join(key, "."), allowedIn(key[:len(key)-1]))}
	}
	var wrong *toml.DecodeError
	if errors.As(err, &wrong) {
		line, column := wrong.Position()
		return &Error{Path: path, Line: line, Column: column, Problem: plainProblem(wrong)}
	}
	return &Error{Path: path, Problem: strings.TrimPrefix(err.Error(), "toml: ")}
}

// plainProblem says what is wrong with a value in the words of the file: the library
// speaks of Go's structs and types.
func plainProblem(wrong *toml.DecodeError) string {
	message := strings.TrimPrefix(wrong.Error(), "toml: ")
	have, target, mismatch := strings.Cut(strings.TrimPrefix(message, "cannot decode TOML "), " into struct field ")
	if !mismatch {
		if message == "cannot store an array table in a struct" {
			return "this is a list of tables; write it with single brackets"
		}
		return message
	}
	wanted := target[strings.LastIndex(target, " of type ")+len(" of type "):]
	if text, ok := map[string]string{"int": "an integer", "string": "a string", "[]string": "a list of strings"}[wanted]; ok {
		wanted = text
	} else {
		wanted = "a table"
	}
	article := "a "
	if strings.ContainsRune("aeiou", rune(have[0])) {
		article = "an "
	}
	return fmt.Sprintf("%s is %s%s; it must be %s", strings.Join(wrong.Key(), "."), article, have, wanted)
}

// allowedIn lists the keys of a table of the file, for messages.
func allowedIn(table []string) string {
	keys, ok := map[string]string{
		"":        "[system], [fs], [boot], [update], [health], [trust], [server], [plugins]",
		"system":  "product, hardware",
		"fs":      "plugin, sha256, [fs.config]",
		"boot":    "plugin, sha256, arguments, trial_arguments, [boot.config]",
		"update":  "tries, keep, confirm_timeout, reboot, health, watchdog, watchdog_timeout",
		"health":  "timeout, settle, verify, units, network, evidence",
		"trust":   "keys",
		"server":  "url, tenant",
		"plugins": "dirs",
	}[strings.Join(table, ".")]
	if !ok {
		return "nothing"
	}
	return keys
}
