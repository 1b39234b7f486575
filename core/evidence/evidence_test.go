package evidence

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const failed = "0b6e3c2a-0000-4000-8000-000000000001"

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, s *Store) (all []string) {
	t.Helper()
	files, err := s.List(failed)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		all = append(all, file.Name)
	}
	return all
}

func TestKeep(t *testing.T) {
	t.Parallel()
	directory := t.TempDir() + "/failed"
	s := NewStore(directory, 10)
	if got := names(t, s); got != nil {
		t.Errorf("before anything is kept: %v", got)
	}
	for name, content := range map[string]string{"1-health.txt": "short", "1-kernel.log": "0123456789abcdef", "../../escape": "x", "empty": ""} {
		if err := s.Keep(failed, name, []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	// What a loss of power left half written is none.
	write(t, directory+"/"+failed+"/2-kernel.log.next", "half")
	if diff := cmp.Diff([]string{"1-health.txt", "1-kernel.log", "escape"}, names(t, s)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if content, err := s.Read(failed, "1-kernel.log"); err != nil || string(content) != "6789abcdef" {
		t.Errorf("the end is not what was kept: %q, %v", content, err)
	}
	if _, err := s.Read(failed, "../../../etc/passwd"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading outside: %v", err)
	}
	for i := range 2 * maxFiles {
		_ = s.Keep(failed, "crash-"+strings.Repeat("n", i+1), []byte("x"))
	}
	if got := len(names(t, s)); got > maxFiles {
		t.Errorf("%d files are kept", got)
	}
}

func TestPrune(t *testing.T) {
	t.Parallel()
	s := NewStore(t.TempDir()+"/failed", 100)
	if err := s.Prune(nil); err != nil {
		t.Errorf("where nothing was kept: %v", err)
	}
	for _, id := range []string{"one", "two", "three"} {
		if err := s.Keep(id, "file", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := s.Prune([]string{"two"}); err != nil {
			t.Fatal(err)
		}
		for id, want := range map[string]int{"one": 0, "two": 1, "three": 0} {
			if files, err := s.List(id); err != nil || len(files) != want {
				t.Errorf("of %s: %v, %v", id, files, err)
			}
		}
	}
}

func TestKeepCrashes(t *testing.T) {
	t.Parallel()
	work := t.TempDir()
	directories := []string{work + "/pstore", work + "/moved", work + "/none"}
	write(t, work+"/pstore/dmesg-ramoops-0", "Oops#1 Part1\n<4>[    1.000000] old\n")
	seen := Crashes(directories)
	write(t, work+"/pstore/dmesg-ramoops-1", "Panic#1 Part1\n<6>[    2.100000] fine\n<0>[    2.200000] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100\n")
	write(t, work+"/moved/176/dmesg.txt", "<3>[    2.000000] BUG: kernel NULL pointer dereference\n")
	s := NewStore(work+"/failed", 1000)
	for range 2 { // again it changes nothing
		if err := s.KeepCrashes(failed, directories, seen); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"crash-176-dmesg.txt", "crash-dmesg-ramoops-1"}, names(t, s)); diff != "" {
			t.Errorf("kept (-want +got):\n%s", diff)
		}
	}
	left := Crashes(directories)
	if len(left) != 2 || left[0] != seen[0] || !strings.HasPrefix(left[1], "176/dmesg.txt@") {
		t.Errorf("left in their places: %v", left)
	}
	if got, want := s.CrashLine(failed), "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100"; got != want {
		t.Errorf("the records say %q, want %q", got, want)
	}
}

// TestPartsOfADump has records as efi_pstore writes them, 1 KiB each: named by the second,
// the part and a count, so that a dump may take more than a second. systemd-pstore moves them
// into a directory for each second, and joins what is in one.
func TestPartsOfADump(t *testing.T) {
	t.Parallel()
	first := map[string]string{
		"179562594901001": "Panic#1 Part1\n<0>[3.3] Kernel panic - not syncing: one\n",
		"179562594902001": "Panic#1 Part2\n<6>[2.2] two\n",
		"179562595003001": "Panic#1 Part3\n<6>[1.1] three\n",
	}
	second := map[string]string{
		"179562601001001": "Panic#1 Part1\n<0>[1.1] Kernel panic - not syncing: again\n",
		"179562601002001": "Oops#1 Part1\n<0>[1.0] Oops: before\n",
	}
	const joined = "Panic#1 Part3\n<6>[1.1] three\nPanic#1 Part2\n<6>[2.2] two\nPanic#1 Part1\n<0>[3.3] Kernel panic - not syncing: one\n"
	for _, c := range []struct {
		name, place string
		path        func(id string) string
		want        map[string]string // by the name in the evidence
	}{
		{"the kernel's", "pstore", func(id string) string { return "dmesg-efi-" + id }, map[string]string{
			"crash-dmesg-efi-179562594901001": joined,
			"crash-dmesg-efi-179562601001001": second["179562601001001"],
			"crash-dmesg-efi-179562601002001": second["179562601002001"],
		}},
		{"moved", "moved", func(id string) string { return id[:9] + "/dmesg-efi-" + id }, map[string]string{
			"crash-179562594-dmesg-efi-179562594901001": joined,
			"crash-179562601-dmesg-efi-179562601001001": second["179562601001001"],
			"crash-179562601-dmesg-efi-179562601002001": second["179562601002001"],
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			work := t.TempDir()
			for _, records := range []map[string]string{first, second} {
				for id, content := range records {
					write(t, filepath.Join(work, c.place, c.path(id)), content)
				}
			}
			if c.place == "moved" {
				write(t, work+"/moved/179562594/dmesg.txt", "what is beside it")
			}
			s := NewStore(work+"/failed", 1000)
			directories := []string{work + "/pstore", work + "/moved"}
			if err := s.KeepCrashes(failed, directories, nil); err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for _, name := range names(t, s) {
				content, err := s.Read(failed, name)
				if err != nil {
					t.Fatal(err)
				}
				got[name] = string(content)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("kept (-want +got):\n%s", diff)
			}
			if left := Crashes(directories[:1]); left != nil {
				t.Errorf("left in the kernel's place: %v", left)
			}
		})
	}
}

// TestNothingIsRemovedThatIsNotKept holds when there is no room.
func TestNothingIsRemovedThatIsNotKept(t *testing.T) {
	t.Parallel()
	work := t.TempDir()
	write(t, work+"/pstore/dmesg-ramoops-0", "Panic#1 Part1\n")
	write(t, work+"/failed", "a file, where the directory should be made")
	if err := NewStore(work+"/failed", 1000).KeepCrashes(failed, []string{work + "/pstore"}, nil); err == nil {
		t.Error("it was kept")
	}
	if _, err := os.Stat(work + "/pstore/dmesg-ramoops-0"); err != nil {
		t.Errorf("the record is gone: %v", err)
	}
}

func TestCrashLine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, log, want string }{
		{"no crash", "<6>[    0.000000] Linux version 6.1\n", ""},
		{"panic", "<0>[    2.2] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n", "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)"},
		{"with the processor", "[    2.2][    T1] Kernel panic - not syncing: sysrq triggered crash\r\n", "Kernel panic - not syncing: sysrq triggered crash"},
		{"the panic says more than what led to it", "[ 1.0] BUG: unable to handle page fault\n[ 1.1] Kernel panic - not syncing: Fatal exception\n", "Kernel panic - not syncing: Fatal exception"},
		{"on ARM", "<1>[ 3.5] Unable to handle kernel NULL pointer dereference at virtual address 0\n", "Unable to handle kernel NULL pointer dereference at virtual address 0"},
		{"the words in the middle", "<6>[    0.1] Command line: panic=10 Oops\n", ""},
		{"endless", "[ 1.0] BUG: " + strings.Repeat("a", 1000), "BUG: " + strings.Repeat("a", 195)},
	} {
		if got := CrashLine([]byte(c.log)); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestKernelRecord(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ record, want string }{
		{"6,339,5140900,-;NET: Registered protocol family 10\n", "[    5.140900] NET: Registered protocol family 10\n"},
		{"30,340,5690716,-;udevd[80]: starting\n SUBSYSTEM=acpi\n DEVICE=+acpi:PNP0A03:00\n", "[    5.690716] udevd[80]: starting\n"},
		{"4,1,0,-,caller=T1;a;b\n", "[    0.000000] a;b\n"},
		{"nothing of that", ""},
		{"a,b;text", "text\n"},
		{"6,1,x,-;text", "text\n"},
	} {
		if got := kernelRecord(c.record); got != c.want {
			t.Errorf("%q: %q, want %q", c.record, got, c.want)
		}
	}
}

// TestKernelLog reads the kernel's log of this machine to its end, and does not wait
// for more.
func TestKernelLog(t *testing.T) {
	t.Parallel()
	log, err := KernelLog("/dev/kmsg")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(log, []byte("[")) || !bytes.HasSuffix(log, []byte("\n")) {
		t.Errorf("it reads %.100q", log)
	}
	if _, err := KernelLog(t.TempDir() + "/none"); err == nil {
		t.Error("a log that is not there was read")
	}
}

func TestLogsStayInTheTree(t *testing.T) {
	t.Parallel()
	work := t.TempDir()
	write(t, work+"/secret", "not of this tree")
	write(t, work+"/tree/var/log/syslog", "0123456789")
	for name, target := range map[string]string{"messages": "../../../secret", "kern.log": work + "/secret", "daemon.log": "syslog"} {
		if err := os.Symlink(target, work+"/tree/var/log/"+name); err != nil {
			t.Fatal(err)
		}
	}
	logs, err := Logs(work+"/tree", 4)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]byte{"var/log/syslog": []byte("6789"), "var/log/daemon.log": []byte("6789")}
	if diff := cmp.Diff(want, logs); diff != "" {
		t.Errorf("logs (-want +got):\n%s", diff)
	}
}

func FuzzLogs(f *testing.F) {
	f.Add([]byte("6,339,5140900,-;NET: Registered protocol family 10\n"))
	f.Add([]byte("<0>[    2.2][ T1] Kernel panic - not syncing: x\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if line := CrashLine(content); strings.Contains(line, "\n") || len(line) > 200 {
			t.Errorf("%q", line)
		}
		if line := kernelRecord(string(content)); line != "" && (strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n")) {
			t.Errorf("%q", line)
		}
	})
}
