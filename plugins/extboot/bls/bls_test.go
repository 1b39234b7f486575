package bls

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func testEntry() Entry {
	return Entry{Title: "Version 2 (it's \"b\")", Version: "6.1.0-9", Kernel: "tbupdate/b/vmlinuz", Initrd: "tbupdate/b/initrd", CommandLine: "root=UUID=2 odd=$x;{y} ro"}
}

// Whatever changes in an entry's file changes within its first sector.
func TestRanksDifferInOneSector(t *testing.T) {
	entry := testEntry()
	var bodies []string
	for _, rank := range []Rank{RankOff, RankTrial, 1, MaxRank, RankLast} {
		data, err := entry.Format(rank)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := entry.Rank(data); !ok || got != rank {
			t.Errorf("rank %d is read as %d %t", rank, got, ok)
		}
		head, err := entry.Head(rank)
		if err != nil || len(head) != SectorSize || !strings.HasPrefix(string(data), string(head)) {
			t.Errorf("head of %d bytes, %v", len(head), err)
		}
		if seen := Parse(string(data)).Kernel != ""; seen != (rank != RankOff) {
			t.Errorf("systemd-boot sees it at rank %d: %t", rank, seen)
		}
		bodies = append(bodies, string(data[SectorSize:]))
	}
	if len(slices.Compact(bodies)) != 1 {
		t.Errorf("the rest differs: %q", bodies)
	}
}

func TestRefusedValues(t *testing.T) {
	for name, change := range map[string]func(*Entry){
		"quotes around the arguments": func(e *Entry) { e.CommandLine = `"a b" c="d"` },
		"line feed in the title":      func(e *Entry) { e.Title = "a\nlinux /x" },
		"space at the end":            func(e *Entry) { e.Title = "a " },
		"kernel with a long path":     func(e *Entry) { e.Kernel = strings.Repeat("x", 500) },
	} {
		entry := testEntry()
		change(&entry)
		if _, err := entry.Format(1); !errors.Is(err, ErrValue) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestNames(t *testing.T) {
	tests := []struct {
		file string
		want Name
		ok   bool
	}{
		{FileName("b2"), Name{"b2", false, Uncounted, 0}, true},
		{TrialName("b2", 3), Name{"b2", true, 3, 0}, true},
		{"tbupdate-b2.trial+2-1.conf", Name{"b2", true, 2, 1}, true},
		{"tbupdate-b2.trial+0-3.conf", Name{"b2", true, 0, 3}, true},
		{OneShotName("b2"), Name{"b2", true, Uncounted, 0}, true},
		{"tbupdate-b2.trial+.conf", Name{"b2.trial+", false, Uncounted, 0}, false},
		{"tbupdate-b2.trial+1-x.conf", Name{}, false},
		{"debian-6.1+3.conf", Name{}, false},
		{"tbupdate-.conf", Name{}, false},
		{"tbupdate-b2.conf.new", Name{}, false},
	}
	for _, test := range tests {
		got, ok := ParseName(test.file)
		if ok != test.ok || ok && got != test.want {
			t.Errorf("%s: %+v %t, want %+v %t", test.file, got, ok, test.want, test.ok)
		}
	}
}

func TestOrder(t *testing.T) {
	entries := []Read{
		{File: "tbupdate-c3.trial+0-2.conf", SortKey: "0-tbupdate-000000"},
		{File: "abc-5.10.conf"},
		{File: "abc-6.1.conf"},
		{File: "debian-6.1.conf", SortKey: "debian", Version: "6.1.0-9"},
		{File: "debian-6.10.conf", SortKey: "debian", Version: "6.1.0-10"},
		{File: "tbupdate-a1.conf", SortKey: "0-tbupdate-900000"},
		{File: "tbupdate-b2.trial+2-1.conf", SortKey: "0-tbupdate-000000"},
	}
	sorted := slices.Clone(entries)
	Sort(sorted)
	var got []string
	for _, entry := range sorted {
		got = append(got, entry.File)
	}
	want := []string{"tbupdate-b2.trial+2-1.conf", "tbupdate-a1.conf", "debian-6.10.conf", "debian-6.1.conf", "abc-6.1.conf", "abc-5.10.conf", "tbupdate-c3.trial+0-2.conf"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, test := range []struct {
		patterns []string
		want     string
	}{
		{nil, "tbupdate-b2.trial+2-1.conf"},
		{[]string{"", "Debian-*"}, "debian-6.10.conf"},
		{[]string{"gone.conf", "debian-6.1.conf"}, "debian-6.1.conf"},
		{[]string{Pattern}, "tbupdate-b2.trial+2-1.conf"},
		{[]string{"["}, "tbupdate-b2.trial+2-1.conf"},
	} {
		if got, ok := Choose(entries, test.patterns...); !ok || got.File != test.want {
			t.Errorf("%q chooses %s, want %s", test.patterns, got.File, test.want)
		}
	}
}

func TestDefaultOfLoaderConf(t *testing.T) {
	const before = "timeout 3\n#default x\ndefault debian-*\n  default  @saved"
	if got := Default(before); got != "@saved" {
		t.Errorf("default %q", got)
	}
	after := SetDefault(before, Pattern)
	want := "timeout 3\n#default x\n# before tbupdate: default debian-*\n# before tbupdate:   default  @saved\ndefault tbupdate-*\n"
	if diff := cmp.Diff(want, after); diff != "" {
		t.Error(diff)
	}
	if again := SetDefault(after, Pattern); again != after {
		t.Errorf("not stable: %q", again)
	}
}

func FuzzParse(f *testing.F) {
	data, err := testEntry().Format(7)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(data), "tbupdate-b2.trial+2-1.conf")
	f.Add("title \"x\"\r\nefi \\EFI\\x.efi\nversion", "a+99999999999999999999.conf")
	f.Fuzz(func(t *testing.T, text, file string) {
		read := Parse(text)
		if rank := RankOf(read); rank != RankOff && (rank < RankTrial || rank > RankLast) {
			t.Errorf("rank %d", rank)
		}
		entry := testEntry()
		if rank, ok := entry.Rank([]byte(text)); ok {
			if again, err := entry.Format(rank); err != nil || string(again) != text {
				t.Errorf("not the same after a round trip: %q %v", again, err)
			}
		}
		if name, ok := ParseName(file); ok && strings.ContainsAny(name.ID, ".") {
			t.Errorf("id %q", name.ID)
		}
		if once := SetDefault(text, Pattern); Default(once) != Pattern || SetDefault(once, Pattern) != once {
			t.Errorf("default %q, once %q", Default(once), once)
		}
		read.File = file
		other := Read{File: "x.conf"}
		if compare(read, other) != -compare(other, read) {
			t.Errorf("no order between %+v and %+v", read, other)
		}
	})
}
