package generation

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func sample() *Journal {
	return &Journal{
		Format: FormatVersion,
		Generations: []Generation{
			{ID: "a", Version: "1.0", State: Good, Tree: "sha256:00", Kernel: "6.1", Source: "init", Pristine: "257", Root: "258", InstalledAt: noon, ConfirmedAt: noon},
			{ID: "b", Version: "2.0", State: Trial, Tree: "sha256:01", Pristine: "259", Root: "260", InstalledAt: noon},
		},
		Roles:   Roles{Root: "b", Current: "b", Previous: "a"},
		Default: "a",
		Trial:   &TrialRun{ID: "b", Tries: 1, ArmedAt: noon, BootID: "x", Before: Roles{Root: "a", Current: "a"}},
		Operation: &Operation{Kind: Confirm, Step: "switch", Started: noon, Generation: Generation{ID: "b", InstalledAt: noon},
			State: []string{"state-var"}},
	}
}

func TestRoundTrip(t *testing.T) {
	document, err := Encode(sample())
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(document)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample(), got, cmpopts.IgnoreUnexported(Journal{})); diff != "" {
		t.Errorf("round trip (-want +got):\n%s", diff)
	}
}

func TestUnknownMembersAreKept(t *testing.T) {
	document := `{"format": 1, "generations": [], "roles": {}, "default": "", "quota": {"bytes": 5}}`
	j, err := Decode([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	again, err := Encode(j)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(again), `"bytes": 5`) {
		t.Errorf("the member of a newer updater was lost:\n%s", again)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct{ name, document, want string }{
		{"empty", "", "cannot read the journal: unexpected end of JSON input"},
		{"cut short", `{"format": 1,`, "cannot read the journal: unexpected end of JSON input"},
		{"no format", `{}`, "cannot read the journal: it has format 0, and this updater knows 1 to 1"},
		{"newer format", `{"format": 2}`, "cannot read the journal: it has format 2, and this updater knows 1 to 1"},
		{"same id twice", `{"format": 1, "generations": [{"id": "a"}, {"id": "a"}]}`, "cannot read the journal: generation a is there twice"},
		{"id that leaves the directory", `{"format": 1, "generations": [{"id": "../a"}]}`, `cannot read the journal: generation id "../a" is not valid`},
		{"role of nobody", `{"format": 1, "roles": {"root": "a"}}`, `cannot read the journal: root refers to generation "a", which is not there`},
		{"trial of nobody", `{"format": 1, "trial": {"id": "a"}}`, `cannot read the journal: trial refers to generation "a", which is not there`},
		{"operation without a generation", `{"format": 1, "operation": {"kind": "apply"}}`, `cannot read the journal: the operation in flight has the generation id "", which is not valid`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Decode([]byte(c.document)); err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestRoles(t *testing.T) {
	roles := Roles{Root: "a", Current: "a", Previous: "z"}
	if diff := cmp.Diff(Roles{Root: "b", Current: "b", Previous: "a"}, roles.After("b")); diff != "" {
		t.Errorf("after an update (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Roles{Root: "z", Current: "z", Previous: "a"}, roles.After("z")); diff != "" {
		t.Errorf("after a roll-back (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"root", "current"}, roles.Of("a")); diff != "" {
		t.Errorf("roles of a (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{}, roles.Of("b")); diff != "" {
		t.Errorf("roles of b (-want +got):\n%s", diff)
	}
}

// FuzzDecode: whatever stands in the journal, reading it ends with an error or with
// a journal that can be written and read again.
func FuzzDecode(f *testing.F) {
	document, err := Encode(sample())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(document)
	f.Add([]byte(`{"format": 1, "more": [1]}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		j, err := Decode(document)
		if err != nil {
			return
		}
		again, err := Encode(j)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(again); err != nil {
			t.Fatalf("what was read cannot be read again: %v\n%s", err, again)
		}
	})
}
