package cmdline_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/sdk/cmdline"
)

func TestSplit(t *testing.T) {
	for _, test := range []struct {
		name, line string
		want       []string
	}{
		{"nothing", "", nil},
		{"white space only", " \t\r\n", nil},
		{"plain", "root=/dev/sda1 ro  quiet\n", []string{"root=/dev/sda1", "ro", "quiet"}},
		{"every white space of the kernel", "a\tb\nc\vd\fe\rf\xa0g", strings.Split("abcdefg", "")},
		{"a character that holds such a byte", "à", []string{"\xc3"}},
		{"value in quotes", `a="b c" d`, []string{`a="b c"`, "d"}},
		{"argument in quotes", `"a=b c" d`, []string{`"a=b c"`, "d"}},
		{"quotes in the middle", `a=b" "c d`, []string{`a=b" "c`, "d"}},
		{"quotes that do not end", `a="b c d`, []string{`a="b c d`}},
		{"no escape character", `a="b\" c" d`, []string{`a="b\"`, `c" d`}},
		{"what follows a NUL", "a b\x00 c", []string{"a", "b"}},
		{"for init", "a -- b", []string{"a", "--", "b"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, cmdline.Split(test.line)); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
		})
	}
}

// TestCut has what next_arg makes of each.
func TestCut(t *testing.T) {
	for _, test := range []struct {
		argument, name, value string
		found                 bool
	}{
		{`ro`, `ro`, ``, false},
		{`a=b`, `a`, `b`, true},
		{`a=`, `a`, ``, true},
		{`a=b=c`, `a`, `b=c`, true},
		{`=a`, `=a`, ``, false},
		{`=a=b`, `=a`, `b`, true},
		{`a="b c"`, `a`, `b c`, true},
		{`"a=b c"`, `a`, `b c`, true},
		{`"a b"`, `a b`, ``, false},
		{`a="`, `a`, ``, true},
		{`a="b`, `a`, `b`, true},
		{`a=b"c"`, `a`, `b"c"`, true},
		{`a="b"c`, `a`, `b"c`, true},
		{`"`, ``, ``, false},
		{`""`, ``, ``, false},
		{``, ``, ``, false},
	} {
		t.Run(test.argument, func(t *testing.T) {
			name, value, found := cmdline.Cut(test.argument)
			if name != test.name || value != test.value || found != test.found {
				t.Errorf("got %q, %q, %t; want %q, %q, %t", name, value, found, test.name, test.value, test.found)
			}
		})
	}
}

func TestValue(t *testing.T) {
	for _, test := range []struct{ name, line, want string }{
		{"none", "b=1 aa=2 a", ""},
		{"one", "ro a=1 quiet", "1"},
		{"the last counts", "a=1 a=2", "2"},
		{"an empty one last", "a=1 a=", ""},
		{"value in quotes", `a="1 2"`, "1 2"},
		{"argument in quotes", `"a=1 2"`, "1 2"},
		{"inside of another's quotes", `b="x a=1"`, ""},
		{"for init", "-- a=1", "1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := cmdline.Value(test.line, "a"); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestJoin(t *testing.T) {
	for _, test := range []struct {
		name      string
		arguments []string
		want      string
		fails     bool
	}{
		{name: "nothing"},
		{name: "plain", arguments: []string{"root=UUID=1", "ro", "quiet"}, want: "root=UUID=1 ro quiet"},
		{name: "value with a space", arguments: []string{"rootflags=subvol=a b"}, want: `rootflags="subvol=a b"`},
		{name: "argument with a space", arguments: []string{"a b"}, want: `"a b"`},
		{name: "space in the name", arguments: []string{"a b=c"}, want: `"a b=c"`},
		{name: "quoted already", arguments: []string{`a="b c"`, `"d e"`, `f=g" "h`}, want: `a="b c" "d e" f=g" "h`},
		{name: "a character that holds a separator", arguments: []string{"a=à"}, want: `a="à"`},
		{name: "empty", arguments: []string{"a", ""}, fails: true},
		{name: "line break", arguments: []string{"a\nb"}, fails: true},
		{name: "NUL", arguments: []string{"a\x00b"}, fails: true},
		{name: "quote without its match", arguments: []string{`a="b`}, fails: true},
		{name: "several", arguments: []string{`a="b c" d`}, fails: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := cmdline.Join(test.arguments)
			if got != test.want || (err != nil) != test.fails {
				t.Errorf("got %q, %v; want %q, an error: %t", got, err, test.want, test.fails)
			}
		})
	}
}

// FuzzJoin: what Join makes of one argument among others is that argument again.
func FuzzJoin(f *testing.F) {
	for _, seed := range []string{"ro", "a=b c", `a="b c"`, `"a b"`, `a=b" "c`, "a=à", "=", `a="b" c`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, argument string) {
		line, err := cmdline.Join([]string{"first", argument, "last"})
		if err != nil {
			return
		}
		got := cmdline.Split(line)
		if len(got) != 3 || got[0] != "first" || got[2] != "last" {
			t.Fatalf("%q became %q", argument, line)
		}
		name, value, found := cmdline.Cut(got[1])
		wantName, wantValue, wantFound := cmdline.Cut(argument)
		if name != wantName || value != wantValue || found != wantFound {
			t.Errorf("%q became %q: %q, %q, %t", argument, got[1], name, value, found)
		}
	})
}

// FuzzSplit: arguments put together with single spaces are the same line.
func FuzzSplit(f *testing.F) {
	f.Add(`root=UUID=1 "a b" rootflags="subvolid=0x5,subvol=/a" -- c`)
	f.Fuzz(func(t *testing.T, line string) {
		arguments := cmdline.Split(line)
		for _, a := range arguments {
			if a == "" {
				t.Fatalf("%q has an empty argument", line)
			}
			cmdline.Cut(a)
		}
		if again := cmdline.Split(strings.Join(arguments, " ")); !slices.Equal(arguments, again) {
			t.Errorf("%q became %q", arguments, again)
		}
	})
}
