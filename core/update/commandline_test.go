package update

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestStatedArguments(t *testing.T) {
	for _, c := range []struct {
		name    string
		content string
		want    []string
	}{
		{"plain", "ro quiet\n", []string{"ro", "quiet"}},
		{"several lines and comments", "# the console\nconsole=ttyS0\n  # rw\nro\n", []string{"console=ttyS0", "ro"}},
		{"a hash within a line is none", "a=#b ro\n", []string{"a=#b", "ro"}},
		{"quotes", "dyndbg=\"file a.c +p ; file b.c +p\" rw\n", []string{`dyndbg="file a.c +p ; file b.c +p"`, "rw"}},
		{"a pin of its own", "root=/dev/sda1 rootflags=subvol=x rootfstype=btrfs ro\n", []string{"ro"}},
		{"ours, copied from a running system", "BOOT_IMAGE=/x ro tbupdate.generation=a tbupdate.trial=1\n", []string{"ro"}},
		{"empty", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := t.TempDir()
			if err := os.MkdirAll(filepath.Join(tree, "etc/kernel"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(tree, "etc/kernel/cmdline"), []byte(c.content), 0o644); err != nil {
				t.Fatal(err)
			}
			got, found, err := statedArguments(tree)
			if err != nil || !found {
				t.Fatalf("found %v, %v", found, err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
		})
	}
	if _, found, err := statedArguments(t.TempDir()); found || err != nil {
		t.Errorf("a tree that states none: found %v, %v", found, err)
	}
}

func TestCheckArguments(t *testing.T) {
	pin := []string{"root=UUID=1", "rootflags=subvolid=300"}
	for _, c := range []struct {
		name string
		own  []string
		want string // in the error; "" for none
	}{
		{"plain", []string{"ro", `a="b c"`}, ""},
		{"a quote that would swallow the pin", []string{`a="b`}, "double quote without its match"},
		{"what follows is for init", []string{"--", "single"}, `it has "--"`},
		{"so long that the pin is cut off", []string{strings.Repeat("x", 1890)}, "the kernel may cut it off"},
		{"a line break", []string{"a=\"b\nc\""}, "control characters"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := checkArguments(append(c.own, pin...), []string{"panic=10"})
			var e *Error
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (!errors.As(err, &e) || e.Class != Refused || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want a refusal with %q", err, c.want)
			}
		})
	}
}
