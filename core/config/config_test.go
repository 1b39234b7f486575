package config

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/sdk"
)

const whole = `[system]
product = "gateway"
hardware = "rev-b"
[fs]
plugin = "tree"
[fs.config]
device = "UUID=1234"
[boot]
plugin = "loader"
arguments = "console=ttyS0 ro"
[boot.config]
mount = "/boot"
retries = 3
verbose = true
[update]
tries = 3
keep = 4
confirm_timeout = "90s"
reboot = "manual"
`

var loaderKeys = []sdk.Key{
	{Name: "mount", Type: sdk.KeyString},
	{Name: "retries", Type: sdk.KeyInteger},
	{Name: "verbose", Type: sdk.KeyBoolean},
	{Name: "loader", Type: sdk.KeyString, Allowed: []string{"one", "two"}},
}

func TestParse(t *testing.T) {
	c, err := Parse("c.toml", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	if c.System.Product != "gateway" || c.Update.Tries != 3 || c.Update.Keep != 4 || time.Duration(c.Update.ConfirmTimeout) != 90*time.Second {
		t.Errorf("values were not taken: %+v", c)
	}
	if c.Update.Health != "/etc/tbupdate/health.d" || c.Boot.TrialArguments != "panic=10 systemd.watchdog_sec=60" || c.Update.Watchdog != WatchdogAuto || c.Health.Evidence != 1<<20 {
		t.Errorf("defaults were lost: %+v", c)
	}
	if c.Boot.Arguments == nil || *c.Boot.Arguments != "console=ttyS0 ro" {
		t.Errorf("arguments: %v", c.Boot.Arguments)
	}
	settings, err := c.Settings("boot", loaderKeys)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"mount": "/boot", "retries": "3", "verbose": "true"}
	if diff := cmp.Diff(want, settings); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

func TestComplaints(t *testing.T) {
	for _, c := range []struct{ name, document, want string }{
		{"unknown table", "[sytem]\nproduct = \"x\"\n", `c.toml:1:2: unknown key "sytem"; allowed here: [system], [fs], [boot], [update], [health], [trust], [server], [plugins]`},
		{"unknown key", "[update]\nkeep = 2\ntry = 3\n", `c.toml:3:1: unknown key "update.try"; allowed here: tries, keep, confirm_timeout, reboot, health, watchdog, watchdog_timeout`},
		{"syntax", "[update\n", `c.toml:1:8: expected ']' to close table name`},
		{"wrong type", "[update]\nkeep = \"two\"\n", `c.toml:2:8: update.keep is a string; it must be an integer`},
		{"wrong type in a list", "[plugins]\ndirs = [1]\n", `c.toml:2:9: plugins.dirs is an integer; it must be a string`},
		{"not a list", "[plugins]\ndirs = \"x\"\n", `c.toml:2:8: plugins.dirs is a string; it must be a list of strings`},
		{"not a table", "update = 3\n", `c.toml:1:10: update is an integer; it must be a table`},
		{"not a table of settings", "[fs]\nconfig = 3\n", `c.toml:2:10: fs.config is an integer; it must be a table`},
		{"list of tables", "[[update]]\nkeep = 1\n", `c.toml:1:3: this is a list of tables; write it with single brackets`},
		{"too many tries", "[update]\n  tries = 10\n", `c.toml:2:3: tries is 10; 1 to 9 are allowed`},
		{"nothing kept", "[update]\nkeep = 0\n", `c.toml:2:1: keep is 0; 1 or more are allowed, since the running generation counts`},
		{"reboot", "[update]\nreboot = \"soon\"\n", `c.toml:2:1: reboot is "soon"; allowed are "now" and "manual"`},
		{"duration", "[update]\nconfirm_timeout = \"5 minutes\"\n", `c.toml:2:19: "5 minutes" is not a duration such as "90s" or "5m"`},
		{"duration without a unit", "[update]\nconfirm_timeout = 300\n", `c.toml:2:1: confirm_timeout must be a duration of a second or more, such as "90s" or "5m"`},
		{"watchdog", "[update]\nwatchdog = \"on\"\n", `c.toml:2:1: watchdog is "on"; allowed are "auto", "off" and the path of a device`},
		{"watchdog's time", "[update]\nwatchdog_timeout = \"1s\"\n", `c.toml:2:1: watchdog_timeout must be a duration of two seconds or more, such as "60s"`},
		{"health's time", "[health]\ntimeout = \"10ms\"\n", `c.toml:2:1: timeout must be a duration of a second or more, such as "60s"`},
		{"settling for too long", "[update]\nconfirm_timeout = \"1m\"\n[health]\nsettle = \"60s\"\n", `c.toml:4:1: settle must be shorter than update.confirm_timeout, which is 1m0s`},
		{"network", "[health]\nnetwork = \"example.org\"\n", `c.toml:2:1: network is "example.org"; allowed are "route" and HOST:PORT`},
		{"units", "[health]\nunits = \"a.service\"\n", `c.toml:2:9: health.units is a string; it must be a list of strings`},
		{"what is read again", "[health]\nverify = \"some\"\n", `c.toml:2:1: verify is "some"; allowed are "full" and "recorded"`},
		{"evidence", "[health]\nevidence = -1\n", `c.toml:2:1: evidence is -1; 0 or more bytes are allowed`},
		{"unknown key of health", "[health]\nretries = 1\n", `c.toml:2:1: unknown key "health.retries"; allowed here: timeout, settle, verify, units, network, evidence`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse("c.toml", []byte(c.document))
			if err == nil {
				t.Fatal("it was accepted")
			}
			t.Log(err)
			if c.want != "" && err.Error() != c.want {
				t.Errorf("got  %s\nwant %s", err, c.want)
			}
		})
	}
}

func TestSettingComplaints(t *testing.T) {
	for _, c := range []struct{ name, document, want string }{
		{"unknown", "[boot]\nplugin = \"loader\"\n[boot.config]\n  mont = \"/boot\"\n", `c.toml:4:3: unknown key "boot.config.mont"; the boot plugin "loader" allows: mount, retries, verbose, loader`},
		{"inline table", "boot = { plugin = \"loader\", config = { mont = \"/boot\" } }\n", `c.toml:1:1: unknown key "boot.config.mont"; the boot plugin "loader" allows: mount, retries, verbose, loader`},
		{"type", "[boot.config]\nretries = \"3\"\n", `c.toml:2:1: boot.config.retries is a string; it must be of the type integer`},
		{"not allowed", "[boot.config]\nloader = \"three\"\n", `c.toml:2:1: boot.config.loader is "three"; allowed are one, two`},
		{"dotted", "[boot]\nconfig.loader = 1\n", `c.toml:2:1: boot.config.loader is an integer; it must be of the type string`},
		{"list", "[boot.config]\nmount = [\"a\"]\n", `c.toml:2:1: boot.config.mount must be of the type string`},
	} {
		t.Run(c.name, func(t *testing.T) {
			parsed, err := Parse("c.toml", []byte(c.document))
			if err != nil {
				t.Fatal(err)
			}
			_, err = parsed.Settings("boot", loaderKeys)
			if err == nil {
				t.Fatal("it was accepted")
			}
			if c.want != "" && err.Error() != c.want {
				t.Errorf("got  %s\nwant %s", err, c.want)
			}
		})
	}
}

func TestRequiredSetting(t *testing.T) {
	c, err := Parse("c.toml", []byte("[fs]\nplugin = \"tree\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Settings("fs", []sdk.Key{{Name: "device", Type: sdk.KeyString, Required: true, Help: "where it is"}})
	if want := `c.toml:1:2: [fs.config] needs the key "device": where it is`; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestLoadMissing(t *testing.T) {
	path := t.TempDir() + "/none.toml"
	if _, err := Load(path, false); err != nil {
		t.Errorf("a machine without the file: %v", err)
	}
	_, err := Load(path, true)
	if want := path + ": cannot read the configuration: no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte("[fs.config]\na.b = 1\n"))
	f.Fuzz(func(t *testing.T, document []byte) {
		c, err := Parse("c.toml", document)
		if err != nil {
			return
		}
		_, _ = c.Settings("fs", nil)
	})
}
