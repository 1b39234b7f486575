package extlinux

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVector(t *testing.T) {
	var v Vector
	v.records = []record{{2, []byte("saved")}}
	v.SetOnce("tbupdate-a.trial")
	data, err := v.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	var empty Vector
	old, err := empty.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	broken := strings.Repeat("x", copySize)
	tests := []struct {
		name string
		data string
		once string
		err  error
	}{
		{"both", string(data), "tbupdate-a.trial", nil},
		{"none", string(old), "", nil},
		{"torn before the first copy", string(old[:copySize]) + string(data[copySize:]), "", nil},
		{"torn after the first copy", string(data[:copySize]) + string(old[copySize:]), "tbupdate-a.trial", nil},
		{"first broken", broken + string(data[copySize:]), "tbupdate-a.trial", nil},
		{"both broken", broken + broken, "", ErrMalformed},
		{"short", "x", "", ErrMalformed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseVector([]byte(test.data))
			if !errors.Is(err, test.err) || got.Once() != test.once {
				t.Errorf("once %q, error %v", got.Once(), err)
			}
		})
	}
	v.SetOnce("")
	if diff := cmp.Diff([]byte("saved"), v.records[0].data); diff != "" || len(v.records) != 1 {
		t.Error("a foreign record was lost")
	}
	v.SetOnce(strings.Repeat("x", 300))
	if _, err := v.Bytes(); !errors.Is(err, ErrFull) {
		t.Errorf("error %v, want ErrFull", err)
	}
}

const foreign = "SERIAL 0 115200\ndefault good\nPROMPT 0\nLABEL good\n  LINUX /vmlinuz\n  APPEND root=LABEL=x rw\n"

func TestTakeOver(t *testing.T) {
	config, err := Parse(foreign)
	if err != nil {
		t.Fatal(err)
	}
	if config.Default != "good" {
		t.Errorf("default %q", config.Default)
	}
	if diff := cmp.Diff([]ForeignLabel{{"good", "root=LABEL=x rw"}}, config.ForeignLabels()); diff != "" {
		t.Error(diff)
	}
	if err := config.Put(Entry{ID: "a1", Title: "One", Kernel: "tbupdate/a1/vmlinuz", Initrd: "tbupdate/a1/initrd",
		DeviceTrees: "tbupdate/a1/dtb", CommandLine: `root=1 a="b c"`, TrialArguments: "panic=10"}); err != nil {
		t.Fatal(err)
	}
	text, err := config.Format()
	if err != nil {
		t.Fatal(err)
	}
	want := "DEFAULT " + strings.Repeat(" ", 115) + "good" + `
SERIAL 0 115200
PROMPT 0
LABEL good
  LINUX /vmlinuz
  APPEND root=LABEL=x rw
# BEGIN tbupdate: do not edit up to END
LABEL tbupdate-a1
	MENU LABEL One
	LINUX /tbupdate/a1/vmlinuz
	INITRD /tbupdate/a1/initrd
	FDTDIR /tbupdate/a1/dtb
	APPEND root=1 a="b c"
LABEL tbupdate-a1.trial
	MENU LABEL One (trial)
	LINUX /tbupdate/a1/vmlinuz
	INITRD /tbupdate/a1/initrd
	FDTDIR /tbupdate/a1/dtb
	APPEND root=1 a="b c" panic=10
# END tbupdate
`
	if diff := cmp.Diff(want, text); diff != "" {
		t.Fatal(diff)
	}
	again, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(config, again); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a1"}, again.IDs()); diff != "" {
		t.Error(diff)
	}
	if err := again.Put(Entry{ID: "b", Kernel: "k"}); err != nil {
		t.Fatal(err)
	}
	again.Drop("a1")
	if diff := cmp.Diff(Entry{ID: "b", Kernel: "k"}.Labels(), again.Block); diff != "" {
		t.Error(diff)
	}
	again = config
	if !HasDefaultLine(text) || HasDefaultLine(foreign) || HasDefaultLine(text+"DEFAULT x\n") {
		t.Error("HasDefaultLine does not agree")
	}
	if !again.HasLabel("tbupdate-a1.trial") || again.HasLabel("good") || again.HasLabel("tbupdate-a") {
		t.Error("HasLabel does not agree")
	}
}

func TestForeignChoices(t *testing.T) {
	for _, line := range []string{"UI menu.c32", "DEFAULT vesamenu.c32", "INCLUDE linux.cfg", "ONTIMEOUT x", "LABEL a\n MENU DEFAULT", "menu include x"} {
		if _, err := Parse(line + "\n"); !errors.Is(err, ErrForeign) {
			t.Errorf("%q: error %v, want ErrForeign", line, err)
		}
	}
}

func TestParseLabel(t *testing.T) {
	tests := []struct {
		label, id string
		trial, ok bool
	}{{"tbupdate-a", "a", false, true}, {"tbupdate-a.trial", "a", true, true}, {"tbupdate-a-trial", "a-trial", false, true}, {"good", "good", false, false}, {"tbupdate-", "", false, false}}
	for _, test := range tests {
		if id, trial, ok := ParseLabel(test.label); id != test.id || trial != test.trial || ok != test.ok {
			t.Errorf("%s: %q %v %v", test.label, id, trial, ok)
		}
	}
}

func FuzzVector(f *testing.F) {
	data, _ := Vector{[]record{{1, []byte("x")}, {9, nil}}}.Bytes()
	f.Add(data[dataStart:dataEnd])
	f.Fuzz(func(t *testing.T, payload []byte) {
		v := Vector{parseRecords(payload)}
		data, err := v.Bytes()
		if err != nil {
			return
		}
		again, err := ParseVector(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(v.Once(), again.Once()); diff != "" || len(v.records) != len(again.records) {
			t.Fatal("the vector did not come back")
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(foreign)
	f.Add("DEFAULT \u02f0") // two bytes, one character
	f.Add("DEFAULT a\n" + blockBegin + "\nLABEL x\n" + blockEnd + "\nDEFAULT b")
	f.Fuzz(func(t *testing.T, text string) {
		config, err := Parse(text)
		if err != nil {
			return
		}
		formatted, err := config.Format()
		if err != nil {
			return
		}
		again, err := Parse(formatted)
		if err != nil {
			t.Fatal(err)
		}
		if again.Default != config.Default || again.Foreign != config.Foreign {
			t.Fatal(cmp.Diff(config, again))
		}
		if config.Block == "" && !HasDefaultLine(formatted) {
			t.Fatalf("no default line in %q", formatted)
		}
	})
}
