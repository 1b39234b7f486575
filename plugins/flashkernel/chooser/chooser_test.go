package chooser

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/envimage"
)

func TestPut(t *testing.T) {
	const other = "echo before\n# BEGIN tbupdate chooser 0: older\nreset\n# END tbupdate chooser 0\necho after\n"
	for name, test := range map[string]struct{ script, want string }{
		"nothing":          {"", snippet},
		"a script":         {"echo x\n", snippet + "echo x\n"},
		"ours in front":    {snippet + "echo x\n", snippet + "echo x\n"},
		"ours further on":  {"echo x\n" + snippet, "echo x\n" + snippet},
		"an older version": {other, snippet + "echo before\necho after\n"},
		"ours, changed":    {strings.Replace(snippet, "reset", "true", 1) + "echo x\n", snippet + "echo x\n"},
		"ours and another": {snippet + other, snippet + "echo before\necho after\n"},
	} {
		got := Put(test.script)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
		if !IsIn(got) || IsIn(test.script) != (test.script == test.want) {
			t.Errorf("%s: IsIn before %t, after %t", name, IsIn(test.script), IsIn(got))
		}
	}
	if strings.Contains(snippet, "@@") || !strings.HasSuffix(snippet, "\n") {
		t.Error("flash-kernel would change the text")
	}
}

func TestChooses(t *testing.T) {
	for name, test := range map[string]struct {
		script string
		want   bool
	}{
		"nothing":                       {"", false},
		"this one":                      {"echo\n" + snippet + "echo\n", true},
		"the same number, another text": {strings.Replace(snippet, "reset", "true", 1), true},
		"another number":                {strings.ReplaceAll(snippet, "chooser 1", "chooser 11"), false},
		"only the beginning":            {snippet[:len(snippet)/2], false},
		"only the end":                  {"# END tbupdate chooser 1\n", false},
	} {
		if got := Chooses(test.script); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestFilesRoundTrip(t *testing.T) {
	long := strings.Repeat("a", 64)
	for _, layout := range []envimage.Layout{{}, {Flags: true}} {
		for _, want := range []Default{{}, {ID: long, Previous: long, Partition: 12, Device: "mmc 1:2", CountedByUBoot: true}} {
			data, err := want.Bytes(layout)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ParseDefault(data, layout)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
		}
		for _, want := range []Trial{{}, {ID: long, Starts: 9, Limit: 9}} {
			data, err := want.Bytes(layout)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ParseTrial(data, layout)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
		}
		for _, want := range []Words{{Version: "6.1", CommandLine: "ro"}, {Version: "6.1"}} {
			data, err := want.Bytes(layout)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ParseWords(data, layout)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
		}
	}
	if _, err := (Words{CommandLine: strings.Repeat("a", 5000)}).Bytes(envimage.Layout{}); !errors.Is(err, envimage.ErrFull) {
		t.Errorf("a command line that is too long: %v", err)
	}
}

func TestTrialOf(t *testing.T) {
	for name, test := range map[string]struct {
		variables map[string]string
		left      int
	}{
		"armed":         {map[string]string{"upgrade_available": "1", "bootcount": "1", "bootlimit": "3", "tbupdate_trial": "b2"}, 2},
		"not available": {map[string]string{"upgrade_available": "0", "bootcount": "1", "bootlimit": "3", "tbupdate_trial": "b2"}, 0},
		"no count":      {map[string]string{"upgrade_available": "1", "bootlimit": "3", "tbupdate_trial": "b2"}, 0},
		"no trial":      {map[string]string{"upgrade_available": "1", "bootcount": "1", "bootlimit": "3"}, 0},
		"over":          {map[string]string{"upgrade_available": "1", "bootcount": "4", "bootlimit": "3", "tbupdate_trial": "b2"}, 0},
	} {
		if got := TrialOf(func(name string) string { return test.variables[name] }).Left(); got != test.left {
			t.Errorf("%s: %d starts left", name, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, text []byte) {
		// An environment of any content, in an image that is whole.
		for _, layout := range []envimage.Layout{{}, {Flags: true}} {
			var e envimage.Environment
			for pair := range strings.SplitSeq(string(text), "\n") {
				if name, value, ok := strings.Cut(pair, "="); ok {
					e.Set(name, value)
				}
			}
			data, err := e.Bytes(StateSize, layout)
			if err != nil {
				return
			}
			if d, err := ParseDefault(data, layout); err == nil {
				again, err := d.Bytes(layout)
				if err != nil {
					t.Fatal(err)
				}
				if back, err := ParseDefault(again, layout); err != nil || back != d {
					t.Errorf("%+v became %+v (%v)", d, back, err)
				}
			}
			if trial, err := ParseTrial(data, layout); err != nil || trial.Left() < 0 {
				t.Errorf("%+v, %v", trial, err)
			}
		}
	})
}
