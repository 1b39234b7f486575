package grubcfg

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestArguments(t *testing.T) {
	tests := []struct {
		name string
		in   []string
		want string
		err  error
	}{
		{"plain", []string{"root=UUID=1-2", "ro"}, " 'root=UUID=1-2' 'ro'", nil},
		{"dollar and semicolon stay", []string{"a=$b;{c}|&<>#"}, " 'a=$b;{c}|&<>#'", nil},
		{"space", []string{"a=b c"}, " 'a=b c'", nil},
		{"kernel quotes", []string{`dyndbg="file a +p"`}, " 'dyndbg=file a +p'", nil},
		{"single quote", []string{"a='b'"}, "", ErrArgument},
		{"stray double quote", []string{`a"b`}, "", ErrArgument},
		{"backslash", []string{`a\b`}, "", ErrArgument},
		{"line feed", []string{"a\nreboot"}, "", ErrArgument},
		{"empty", []string{""}, "", ErrArgument},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Arguments(test.in)
			if !errors.Is(err, test.err) {
				t.Fatalf("error %v, want %v", err, test.err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

var entry = Entry{
	ID: "0c44b5e5", Title: `It's "1.2" $x`, Kernel: "tbupdate/0c44b5e5/vmlinuz", Initrd: "tbupdate/0c44b5e5/initrd",
	DeviceTree: "tbupdate/0c44b5e5/dtb/a.dtb", Arguments: []string{"root=UUID=1", "a=$b c"}, TrialArguments: []string{"panic=10"},
}

// GRUB's own parser must take every file that is written.
func TestScriptsParse(t *testing.T) {
	program, err := exec.LookPath("grub-script-check")
	if err != nil {
		t.Fatal("this test needs grub-script-check: apt-get install grub-common")
	}
	files, err := entry.Files()
	if err != nil {
		t.Fatal(err)
	}
	files[IncludeFile] = Include()
	files[DefaultFile] = string(FormatDefault("0c44b5e5"))
	files[CustomFile] = AddHook("menuentry x { true; }", "12-34")
	files[ConfigFile] = MinimalConfig()
	for name, text := range files {
		command := exec.Command(program)
		command.Stdin = strings.NewReader(text)
		if out, err := command.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s\n%s", name, err, out, text)
		}
	}
}

func TestLoadScript(t *testing.T) {
	files, err := entry.Files()
	if err != nil {
		t.Fatal(err)
	}
	want := `set root="$tbupdate_boot"
if linux '/tbupdate/0c44b5e5/vmlinuz' 'root=UUID=1' 'a=$b c' 'panic=10'; then
	if initrd '/tbupdate/0c44b5e5/initrd'; then
		if devicetree '/tbupdate/0c44b5e5/dtb/a.dtb'; then
			boot
		fi
	fi
fi
`
	if diff := cmp.Diff(want, files[TrialFile]); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(files[BootFile], "panic=10") {
		t.Error("the default boots with the trial's arguments")
	}
}

func TestHook(t *testing.T) {
	tests := []struct {
		name, before, want string
	}{
		{"empty", "", Hook("u")},
		{"foreign stays", "set color=x", "set color=x\n" + Hook("u")},
		{"repeated", "a\n" + Hook("u"), "a\n" + Hook("u")},
		{"other filesystem", Hook("old") + "b\n", "b\n" + Hook("u")},
		{"cut off", "a\n" + hookBegin + "\nsearch", "a\n" + Hook("u")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := AddHook(test.before, "u")
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if !HasHook(got, "u") || HasHook(got+"x", "u") || HasHook(got, "v") {
				t.Error("HasHook does not agree")
			}
		})
	}
}

func TestParseForeign(t *testing.T) {
	const debian = `
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
else
   set default="0"
fi
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple-1' {
	search --no-floppy --fs-uuid --set=root 1
	linux	/vmlinuz-6.1 root=UUID=2 ro rootflags=subvol=snapshots/root quiet
	initrd	/initrd.img-6.1
}
if [ -f  ${config_directory}/custom.cfg ]; then
  source ${config_directory}/custom.cfg
elif [ -z "${config_directory}" -a -f  $prefix/custom.cfg ]; then
  source $prefix/custom.cfg
fi
`
	tests := []struct {
		name, config string
		want         Foreign
	}{
		{"grub-mkconfig", debian, Foreign{true, "0", []ForeignEntry{{"Debian GNU/Linux", "root=UUID=2 ro rootflags=subvol=snapshots/root quiet"}}}},
		{"default set later", debian + "set default=3\n", Foreign{false, "3", []ForeignEntry{{"Debian GNU/Linux", "root=UUID=2 ro rootflags=subvol=snapshots/root quiet"}}}},
		{"commented out", "# source $prefix/custom.cfg\n", Foreign{false, "0", nil}},
		{"ours", MinimalConfig(), Foreign{true, "0", nil}},
		{"empty", "", Foreign{false, "0", nil}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, ParseForeign(test.config)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDefaultFile(t *testing.T) {
	for _, id := range []string{"", "a", strings.Repeat("f", 64)} {
		data := FormatDefault(id)
		if got, ok := ParseDefault(data); !ok || got != id || len(data) != defaultFileSize {
			t.Errorf("ParseDefault of %q = %q, %v", id, got, ok)
		}
	}
	if _, ok := ParseDefault(FormatDefault("a")[1:]); ok {
		t.Error("a shifted file was taken")
	}
}

func FuzzQuote(f *testing.F) {
	f.Add("a'b$\\")
	f.Fuzz(func(t *testing.T, text string) {
		if got, ok := Unquote(Quote(text)); !ok || got != text {
			t.Fatalf("%q came back as %q", text, got)
		}
	})
}

func FuzzAddHook(f *testing.F) {
	f.Add("a\n" + Hook("u") + hookBegin)
	f.Fuzz(func(t *testing.T, custom string) {
		once := AddHook(custom, "u")
		if !HasHook(once, "u") || AddHook(once, "u") != once {
			t.Fatalf("not stable: %q", once)
		}
		ParseForeign(custom)
	})
}
