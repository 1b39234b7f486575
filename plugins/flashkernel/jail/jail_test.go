package jail

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/mountinfo"

	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/bootscript"
	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/flashtree"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

func TestMain(m *testing.M) { loopback.Main(m) }

const blob = "\xd0\x0d\xfe\xed the rest of a device tree"

func newTree(t *testing.T, versions ...string) string {
	t.Helper()
	dir := t.TempDir()
	flashtree.New(t, dir, []byte(blob))
	for _, version := range versions {
		for _, name := range []string{"vmlinuz-", "initrd.img-"} {
			writeFile(t, filepath.Join(dir, "boot", name+version), name+version)
		}
	}
	return dir
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func newJob(t *testing.T, root, version string) Job {
	t.Helper()
	return Job{
		Root: root, Version: version, Machine: flashtree.Machine,
		Kernel: "boot/vmlinuz-" + version, Initrd: "boot/initrd.img-" + version,
		Snippets: map[string]string{"zz-more": "echo from the snippet\n"}, Scratch: t.TempDir(),
	}
}

func listFiles(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			names = append(names, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// The real flash-kernel makes its files for the older of two kernels, and the tree
// stays as it was.
func TestRun(t *testing.T) {
	root := newTree(t, "6.1.0-2-arm64", "6.1.0-10-arm64")
	before := listFiles(t, root)
	job := newJob(t, root, "6.1.0-2-arm64")
	output, err := job.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(output, "installing version 6.1.0-2-arm64") {
		t.Errorf("flash-kernel says: %s", output)
	}
	results := filepath.Join(job.Scratch, Results)
	want := []string{"boot.scr", "dtb", "dtb-6.1.0-2-arm64", "dtbs/6.1.0-2-arm64/test.dtb"}
	if diff := cmp.Diff(want, listFiles(t, results)); diff != "" {
		t.Error(diff)
	}
	for _, name := range want[1:] {
		if data, err := os.ReadFile(filepath.Join(results, name)); err != nil || string(data) != blob {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	data, err := os.ReadFile(filepath.Join(results, "boot.scr"))
	if err != nil {
		t.Fatal(err)
	}
	script, err := bootscript.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"setenv fk_kvers '6.1.0-2-arm64'", flashtree.Snippet, "echo from the snippet", "booti "} {
		if !strings.Contains(script.Text, part) {
			t.Errorf("the script lacks %q:\n%s", part, script.Text)
		}
	}
	if diff := cmp.Diff(before, listFiles(t, root)); diff != "" {
		t.Errorf("the tree changed:\n%s", diff)
	}
	again := newJob(t, root, "6.1.0-2-arm64")
	if _, err := again.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if second, err := os.ReadFile(filepath.Join(again.Scratch, Results, "boot.scr")); err != nil || string(second) != string(data) {
		t.Errorf("the same input made another script (%v)", err)
	}
	wantNoMounts(t, root, job.Scratch, again.Scratch)
}

func wantNoMounts(t *testing.T, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
		if err != nil || len(mounts) > 0 {
			t.Errorf("mounts left below %s: %v, %v", dir, mounts, err)
		}
	}
}

// A board of flash-kernel's own database.
func TestPackageDatabase(t *testing.T) {
	root := newTree(t, "6.1.0-2-arm64")
	flashtree.UseWholeDatabase(t, root)
	const model = "bcm2837-rpi-3-b.dtb"
	writeFile(t, filepath.Join(root, "etc/flash-kernel/dtbs", model), blob)
	job := newJob(t, root, "6.1.0-2-arm64")
	job.Machine = "Raspberry Pi 3 Model B"
	if output, err := job.Run(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	results := filepath.Join(job.Scratch, Results)
	if got := listFiles(t, results); len(got) < 3 || got[0] != "boot.scr" {
		t.Errorf("it made %q", got)
	}
}

// flash-kernel that would write elsewhere finds nothing that it could harm.
func TestConfinement(t *testing.T) {
	root := newTree(t, "6.1")
	writeFile(t, filepath.Join(root, Program), `#!/bin/sh
cd /
for d in boot etc usr/share .; do (echo x >$d/written) 2>/dev/null && echo "wrote /$d"; done
for f in boot/vmlinuz-6.1 boot/initrd.img-6.1; do (echo x >$f) 2>/dev/null && echo "wrote /$f"; done
cd /dev && ls >/dev/null 2>&1; for f in *; do echo "dev $f"; done
[ -e /sys/kernel ] && echo has sys
cat /boot/vmlinuz-6.1 /boot/initrd.img-6.1 && echo
echo $FK_MACHINE, $*
`)
	job := newJob(t, root, "6.1")
	output, err := job.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := "wrote /boot\ndev full\ndev null\ndev random\ndev urandom\ndev zero\nvmlinuz-6.1initrd.img-6.1\n" + flashtree.Machine + ", --force 6.1"
	if diff := cmp.Diff(want, output); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"written"}, listFiles(t, filepath.Join(job.Scratch, Results))); diff != "" {
		t.Error(diff)
	}
}

// A link of the tree cannot lead a mount out of it.
func TestLinksLeadNowhere(t *testing.T) {
	root, outside := newTree(t, "6.1"), t.TempDir()
	job := newJob(t, root, "6.1")
	for _, dir := range []string{"tmp", "proc"} {
		if err := os.Remove(filepath.Join(root, dir)); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(outside, filepath.Join(root, dir)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := job.Run(t.Context()); !errors.Is(err, ErrMissing) {
		t.Errorf("error %v, want one about the missing directory", err)
	}
}

func TestErrors(t *testing.T) {
	for name, test := range map[string]struct {
		change func(t *testing.T, root string, job *Job)
		want   error
		says   string
	}{
		"not there": {func(t *testing.T, root string, _ *Job) { remove(t, root, Program) }, ErrMissing, "/usr/sbin/flash-kernel"},
		"no shell":  {func(t *testing.T, root string, _ *Job) { remove(t, root, "usr/bin/sh") }, ErrMissing, "what runs it"},
		"other processor": {func(t *testing.T, root string, _ *Job) {
			writeFile(t, filepath.Join(root, "usr/bin/dash"), "\x7fELF no")
		}, ErrMissing, "not for this machine"},
		"no snippets":      {func(t *testing.T, root string, _ *Job) { remove(t, root, "etc/flash-kernel/ubootenv.d") }, ErrMissing, "ubootenv.d"},
		"no defaults":      {func(t *testing.T, root string, _ *Job) { remove(t, root, packageDefaults) }, ErrMissing, "etc/default/flash-kernel"},
		"unknown machine":  {func(_ *testing.T, _ string, job *Job) { job.Machine = "no such" }, ErrFailed, "Unsupported platform 'no such'"},
		"mkimage is gone":  {func(t *testing.T, root string, _ *Job) { remove(t, root, "usr/bin/mkimage") }, ErrFailed, "mkimage"},
		"device tree gone": {func(t *testing.T, root string, _ *Job) { remove(t, root, "etc/flash-kernel/dtbs") }, ErrFailed, "test.dtb"},
		"kernel gone":      {func(_ *testing.T, _ string, job *Job) { job.Kernel = "boot/other" }, os.ErrNotExist, ""},
		"many files": {func(t *testing.T, root string, _ *Job) {
			writeFile(t, filepath.Join(root, Program), "#!/bin/sh\nn=0; while [ $n -lt 65 ]; do n=$((n+1)); echo >/boot/$n; done\n")
		}, ErrFailed, "more than 64 files"},
		"a loop of links": {func(t *testing.T, root string, _ *Job) {
			writeFile(t, filepath.Join(root, Program), "#!/bin/sh\nln -s . /boot/again\n")
		}, ErrFailed, "too deep"},
	} {
		t.Run(name, func(t *testing.T) {
			root := newTree(t, "6.1")
			job := newJob(t, root, "6.1")
			test.change(t, root, &job)
			if _, err := job.Run(t.Context()); !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v, want %v with %q", err, test.want, test.says)
			}
			wantNoMounts(t, root, job.Scratch)
		})
	}
}

func remove(t *testing.T, root, name string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(root, name)); err != nil {
		t.Fatal(err)
	}
}

// A flash-kernel that does not end is ended with everything that it started.
func TestCancel(t *testing.T) {
	root := newTree(t, "6.1")
	writeFile(t, filepath.Join(root, Program), "#!/bin/sh\nwhile :; do read x </dev/zero; done & wait\n")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if _, err := newJob(t, root, "6.1").Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
}
