package chooser

import (
	"bytes"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/bootscript"
	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/envimage"
	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/uboottest"
)

// These tests run the chooser in U-Boot. The scripts of the entries are short here;
// the tests of the plugin have those that flash-kernel makes.

// odd would end a script that expands it without quotes.
const odd = `odd=$x;{y} back\slash "quoted text" it's ; reset`

func entryScript(id string) string {
	return `setenv bootargs others ${bootargs}
` + snippet + `
load ${tbupdate_boot} ${kernel_addr_r} ${fk_image_locations}vmlinuz-${fk_kvers} && load ${tbupdate_boot} ` + uboottest.FDTAddress + ` ${fk_image_locations}dtb && load ${tbupdate_boot} ${ramdisk_addr_r} ${fk_image_locations}initrd && booti ${kernel_addr_r} ${ramdisk_addr_r}:${filesize} ` + uboottest.FDTAddress + `
`
}

func script(t *testing.T, text string) []byte {
	t.Helper()
	data, err := bootscript.Script{Processor: bootscript.ARM64, Text: text}.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

type encoder interface {
	Bytes(envimage.Layout) ([]byte, error)
}

func encode(t *testing.T, e encoder) []byte {
	t.Helper()
	data, err := e.Bytes(envimage.Layout{})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// bootFiles is a boot filesystem with three entries, of which a1 is the default and
// z0 the one before.
func bootFiles(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{
		"boot.scr": script(t, Put("echo FOREIGN\nreset\n")),
	}
	initrd := 1000
	for _, id := range []string{"a1", "b2", "z0"} {
		dir := "tbupdate/" + id + "/"
		initrd += 1000
		files[dir+"vmlinuz-6.1"] = uboottest.Kernel("KERNEL " + id)
		files[dir+"initrd"] = bytes.Repeat([]byte{1}, initrd)
		files[dir+"boot.scr"] = script(t, entryScript(id))
		files[dir+EntryWords] = encode(t, Words{Version: "6.1", CommandLine: "root=" + id + " " + odd})
		files[dir+TrialWords] = encode(t, Words{Version: "6.1", CommandLine: "root=" + id + " panic=10 " + odd})
	}
	for _, name := range []string{DefaultA, DefaultB} {
		files["tbupdate/"+name] = encode(t, Default{ID: "a1", Previous: "z0", Partition: uboottest.StatePartition})
	}
	return files
}

// bench makes a machine of these files.
func bench(t *testing.T, files map[string][]byte) *uboottest.Machine {
	t.Helper()
	full := maps.Clone(files)
	tree := uboottest.DeviceTree(t)
	for _, id := range []string{"a1", "b2", "z0"} {
		full["tbupdate/"+id+"/dtb"] = tree
	}
	return uboottest.New(t, uboottest.Format(t, 8<<20, full))
}

func setTrial(t *testing.T, m *uboottest.Machine, trial Trial) {
	t.Helper()
	for _, name := range []string{TrialA, TrialB} {
		m.WriteState(name, encode(t, trial))
	}
}

// counted gives what the two copies say.
func counted(t *testing.T, m *uboottest.Machine) [2]Trial {
	t.Helper()
	var got [2]Trial
	for i, name := range []string{TrialA, TrialB} {
		trial, err := ParseTrial(m.ReadState(name), envimage.Layout{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got[i] = trial
	}
	return got
}

func wantKernel(t *testing.T, got uboottest.Boot, id string) {
	t.Helper()
	want := ""
	if id != "" {
		want = "KERNEL " + id
	}
	if got.Kernel != want {
		t.Fatalf("U-Boot booted %q, want %q:\n%s", got.Kernel, want, got.Console)
	}
}

// A trial of three starts, and the default after them.
func TestCounts(t *testing.T) {
	m := bench(t, bootFiles(t))
	setTrial(t, m, Trial{ID: "b2", Limit: 3})
	where := m.Clusters(TrialA) + m.Clusters(TrialB)
	for start := 1; start <= 3; start++ {
		got := m.Start()
		wantKernel(t, got, "b2")
		if got.CommandLine != "root=b2 panic=10 "+odd || got.InitrdSize != 3000 {
			t.Errorf("command line %q, initrd of %d bytes", got.CommandLine, got.InitrdSize)
		}
		want := Trial{ID: "b2", Starts: start, Limit: 3}
		if diff := cmp.Diff([2]Trial{want, want}, counted(t, m)); diff != "" {
			t.Errorf("after start %d:\n%s", start, diff)
		}
	}
	if now := m.Clusters(TrialA) + m.Clusters(TrialB); now != where {
		t.Errorf("U-Boot did not write in place: %s, before %s", now, where)
	}
	got := m.Start()
	wantKernel(t, got, "a1")
	if got.CommandLine != "root=a1 "+odd || got.InitrdSize != 2000 {
		t.Errorf("command line %q, initrd of %d bytes", got.CommandLine, got.InitrdSize)
	}
}

// What U-Boot boots from damaged files, and how often the trial has then been begun.
func TestDamagedState(t *testing.T) {
	armed := Trial{ID: "b2", Limit: 2}
	late := Trial{ID: "b2", Starts: 1, Limit: 2}
	for name, test := range map[string]struct {
		damage func(t *testing.T, m *uboottest.Machine)
		want   string
	}{
		"first copy torn": {func(t *testing.T, m *uboottest.Machine) {
			m.WriteState(TrialA, torn(encode(t, late), encode(t, armed)))
		}, "b2"},
		"second copy torn": {func(t *testing.T, m *uboottest.Machine) {
			m.WriteState(TrialB, torn(encode(t, late), encode(t, armed)))
		}, "b2"},
		"first copy empty": {func(t *testing.T, m *uboottest.Machine) { m.WriteState(TrialA, nil) }, "b2"},
		"first copy short": {func(t *testing.T, m *uboottest.Machine) { m.WriteState(TrialA, encode(t, armed)[:100]) }, "b2"},
		"both torn": {func(t *testing.T, m *uboottest.Machine) {
			m.WriteState(TrialA, torn(encode(t, late), encode(t, armed)))
			m.WriteState(TrialB, torn(encode(t, late), encode(t, armed)))
		}, "a1"},
		"no files":      {func(t *testing.T, m *uboottest.Machine) { m.Format() }, "a1"},
		"no filesystem": {func(t *testing.T, m *uboottest.Machine) { m.Unformat() }, "a1"},
		"no trial":      {func(t *testing.T, m *uboottest.Machine) { setTrial(t, m, Trial{}) }, "a1"},
		"limit reached": {func(t *testing.T, m *uboottest.Machine) { setTrial(t, m, Trial{ID: "b2", Starts: 2, Limit: 2}) }, "a1"},
		"beyond limit":  {func(t *testing.T, m *uboottest.Machine) { setTrial(t, m, Trial{ID: "b2", Starts: 3, Limit: 2}) }, "a1"},
	} {
		t.Run(name, func(t *testing.T) {
			m := bench(t, bootFiles(t))
			setTrial(t, m, armed)
			test.damage(t, m)
			wantKernel(t, m.Start(), test.want)
			if test.want == "b2" {
				want := Trial{ID: "b2", Starts: 1, Limit: 2}
				if diff := cmp.Diff([2]Trial{want, want}, counted(t, m)); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// torn is a sector of which a disk wrote the first part only.
func torn(newer, older []byte) []byte { return append(bytes.Clone(newer[:10]), older[10:]...) }

// A start that cannot be noted is not made: the disk cannot be written.
func TestUnwritableState(t *testing.T) {
	m := bench(t, bootFiles(t))
	setTrial(t, m, Trial{ID: "b2", Limit: 2})
	wantKernel(t, m.Start("-set", "drive.disk.readonly=on"), "a1")
}

// What U-Boot boots when files of the boot filesystem are gone or damaged.
func TestDamagedBootFilesystem(t *testing.T) {
	for name, test := range map[string]struct {
		trial  bool
		damage func(files map[string][]byte)
		want   string
	}{
		"trial without kernel":     {true, func(files map[string][]byte) { delete(files, "tbupdate/b2/vmlinuz-6.1") }, "a1"},
		"trial with half a kernel": {true, func(files map[string][]byte) { files["tbupdate/b2/vmlinuz-6.1"] = make([]byte, 100) }, "a1"},
		"trial without words":      {true, func(files map[string][]byte) { delete(files, "tbupdate/b2/trial.env") }, "a1"},
		"trial without script":     {true, func(files map[string][]byte) { delete(files, "tbupdate/b2/boot.scr") }, "a1"},
		"trial with a bad script":  {true, func(files map[string][]byte) { flip(files["tbupdate/b2/boot.scr"], 300) }, "a1"},
		"trial with bad words":     {true, func(files map[string][]byte) { flip(files["tbupdate/b2/trial.env"], 300) }, "a1"},
		"trial gone":               {true, func(files map[string][]byte) { drop(files, "tbupdate/b2/") }, "a1"},
		"default gone":             {false, func(files map[string][]byte) { drop(files, "tbupdate/a1/") }, "z0"},
		"default without initrd":   {false, func(files map[string][]byte) { delete(files, "tbupdate/a1/initrd") }, "z0"},
		"trial and default gone":   {true, func(files map[string][]byte) { drop(files, "tbupdate/a1/"); drop(files, "tbupdate/b2/") }, "z0"},
		"all gone": {true, func(files map[string][]byte) {
			drop(files, "tbupdate/a1/")
			drop(files, "tbupdate/b2/")
			drop(files, "tbupdate/z0/")
		}, ""},
		"first copy of the default torn":  {false, func(files map[string][]byte) { flip(files["tbupdate/defaulta.env"], 20) }, "a1"},
		"second copy of the default torn": {false, func(files map[string][]byte) { flip(files["tbupdate/defaultb.env"], 20) }, "a1"},
	} {
		t.Run(name, func(t *testing.T) {
			files := bootFiles(t)
			test.damage(files)
			m := bench(t, files)
			trial := Trial{}
			if test.trial {
				trial = Trial{ID: "b2", Limit: 1}
			}
			setTrial(t, m, trial)
			got := m.Start()
			wantKernel(t, got, test.want)
			if strings.Contains(got.Console, "FOREIGN") {
				t.Errorf("it went on to what knows nothing of generations:\n%s", got.Console)
			}
		})
	}
}

func flip(data []byte, at int) { data[at] ^= 0x40 }

func drop(files map[string][]byte, prefix string) {
	for name := range files {
		if strings.HasPrefix(name, prefix) {
			delete(files, name)
		}
	}
}

// As long as there is no default of ours, what was there before boots.
func TestForeign(t *testing.T) {
	files := bootFiles(t)
	drop(files, "tbupdate/default")
	m := bench(t, files)
	setTrial(t, m, Trial{ID: "b2", Limit: 1})
	if got := m.Start(); got.Kernel != "" || !strings.Contains(got.Console, "FOREIGN") {
		t.Errorf("without any default:\n%s", got.Console)
	}
	for _, name := range []string{DefaultA, DefaultB} {
		files["tbupdate/"+name] = encode(t, Default{Partition: uboottest.StatePartition})
	}
	m = bench(t, files)
	setTrial(t, m, Trial{ID: "b2", Limit: 1})
	wantKernel(t, m.Start(), "b2")
	if got := m.Start(); got.Kernel != "" || !strings.Contains(got.Console, "FOREIGN") {
		t.Errorf("after a trial, without a default:\n%s", got.Console)
	}
}

// The state may be on another disk, named as U-Boot does.
func TestStateOnNamedDevice(t *testing.T) {
	files := bootFiles(t)
	for _, name := range []string{DefaultA, DefaultB} {
		files["tbupdate/"+name] = encode(t, Default{ID: "a1", Device: "virtio 0:1"})
	}
	m := bench(t, files)
	setTrial(t, m, Trial{ID: "b2", Limit: 1})
	wantKernel(t, m.Start(), "b2")
	wantKernel(t, m.Start(), "a1")
}

// The counter of the board: variables of U-Boot's own environment, which the script
// sets here in U-Boot's place.
func TestCountedByUBoot(t *testing.T) {
	for name, test := range map[string]struct {
		variables string
		want      string
	}{
		"nothing there":  {"true\n", "a1"},
		"armed":          {"setenv upgrade_available 1\nsetenv tbupdate_trial b2\nsetenv bootcount 2\nsetenv bootlimit 2\n", "b2"},
		"limit exceeded": {"setenv upgrade_available 1\nsetenv tbupdate_trial b2\nsetenv bootcount 3\nsetenv bootlimit 2\n", "a1"},
		"taken back":     {"setenv upgrade_available 0\nsetenv tbupdate_trial b2\nsetenv bootcount 0\nsetenv bootlimit 2\n", "a1"},
	} {
		t.Run(name, func(t *testing.T) {
			files := bootFiles(t)
			for _, name := range []string{DefaultA, DefaultB} {
				files["tbupdate/"+name] = encode(t, Default{ID: "a1", CountedByUBoot: true})
			}
			files["boot.scr"] = script(t, test.variables+snippet)
			wantKernel(t, bench(t, files).Start(), test.want)
		})
	}
}
