package conformance

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/mountinfo"

	"github.com/trebuchet-update/tbupdate/sdk"
)

// FSVolume is a fresh volume on a real filesystem, and what the suite needs of it
// beyond the contract. None of it goes through the plugin.
type FSVolume struct {
	// Setup names the volume by the plugin's settings. Live is false. The suite
	// adds a run directory.
	Setup sdk.Setup

	// Start begins a plugin on which no method was called yet.
	Start func(t testing.TB) sdk.FS

	// Kill ends a started plugin as SIGKILL does. nil: it is not a process.
	Kill func(t testing.TB, plugin sdk.FS)

	// Create makes a writable subvolume under this name, which is not a snapshot
	// of any, and makes missing levels above it.
	Create func(t testing.TB, name string)

	// Mount mounts the subvolume somewhere until the test ends, as a machine that
	// runs from it would.
	Mount func(t testing.TB, id sdk.Identity) string

	// Refused are settings that Configure must refuse, by a name for the case.
	Refused map[string]RefusedSettings
}

// RefusedSettings are settings of an FSVolume that cannot be worked with.
type RefusedSettings struct {
	Settings map[string]string
	Want     error // sentinel: sdk.ErrInvalid, sdk.ErrNotFound or sdk.ErrUnsupported
}

// FS runs the suite of the fs contract against a plugin. fresh makes a new volume
// and is called for every test. The suite needs what the volumes need, which is
// root as a rule, and 64 MiB of room on each.
func FS(t *testing.T, fresh func(t testing.TB) FSVolume) {
	for _, c := range slices.Concat(
		fsLifeCases, fsNameCases, fsSnapshotCases, fsMoveCases, fsDeleteCases, fsRootCases, fsChangesCases,
	) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(&fsTest{T: t, fresh: fresh, volume: fresh(t)})
		})
	}
}

// fsCase is one test of the suite; its name is what must hold.
type fsCase struct {
	name string
	run  func(*fsTest)
}

// fsTest is one run of an fsCase, on a volume of its own.
type fsTest struct {
	*testing.T
	fresh  func(t testing.TB) FSVolume
	volume FSVolume
	// runDirectory is the same for all plugins of the test, as that of one host
	// and its successors.
	runDirectory string
}

// opened is a configured plugin.
type opened struct {
	sdk.FS
	test   *fsTest
	closed bool
}

// setup gives what Configure gets.
func (t *fsTest) setup() sdk.Setup {
	t.Helper()
	if t.runDirectory == "" {
		t.runDirectory = t.TempDir()
	}
	setup := t.volume.Setup
	setup.RunDirectory = t.runDirectory
	return setup
}

// open starts and configures a plugin on the test's volume.
func (t *fsTest) open() *opened {
	t.Helper()
	fs := t.volume.Start(t)
	o := &opened{FS: fs, test: t}
	t.Cleanup(func() {
		if !o.closed {
			o.close()
		}
	})
	if err := fs.Configure(t.Context(), t.setup()); err != nil {
		t.Fatalf("Configure: %v", err)
	}
	return o
}

// openPrepared is open and Prepare.
func (t *fsTest) openPrepared() *opened {
	t.Helper()
	o := t.open()
	if err := o.Prepare(t.Context()); err != nil {
		t.Fatalf("Prepare: %v", err)
	}
	return o
}

func (o *opened) close() {
	o.test.Helper()
	o.closed = true
	if err := o.FS.Close(); err != nil {
		o.test.Errorf("Close: %v", err)
	}
}

// create makes a subvolume with the file "name" in it, which holds the name.
func (o *opened) create(name string) sdk.Subvolume {
	o.test.Helper()
	o.test.volume.Create(o.test, name)
	s := o.lookup(name)
	o.write(s, "name", name)
	return s
}

func (o *opened) lookup(name string) sdk.Subvolume {
	o.test.Helper()
	s, err := o.Lookup(o.test.Context(), name)
	if err != nil {
		o.test.Fatalf("Lookup of %s: %v", name, err)
	}
	return s
}

func (o *opened) get(id sdk.Identity) sdk.Subvolume {
	o.test.Helper()
	s, err := o.Get(o.test.Context(), id)
	if err != nil {
		o.test.Fatalf("Get of %s: %v", id, err)
	}
	return s
}

func (o *opened) snapshot(from sdk.Identity, to string, readOnly bool) sdk.Subvolume {
	o.test.Helper()
	s, err := o.Snapshot(o.test.Context(), from, to, readOnly)
	if err != nil {
		o.test.Fatalf("Snapshot of %s as %s: %v", from, to, err)
	}
	return s
}

func (o *opened) list() []sdk.Subvolume {
	o.test.Helper()
	list, err := o.List(o.test.Context())
	if err != nil {
		o.test.Fatalf("List: %v", err)
	}
	for i := range list {
		list[i] = lasting(list[i])
	}
	return list
}

// lasting leaves of a subvolume what compares: not the path, which List may leave out and
// which differs between plugins, nor the revision, in which what is written into it may show
// at any time.
func lasting(s sdk.Subvolume) sdk.Subvolume {
	s.Path, s.Revision = "", ""
	return s
}

func (o *opened) write(s sdk.Subvolume, name, content string) {
	o.test.Helper()
	if err := os.WriteFile(filepath.Join(s.Path, name), []byte(content), 0o644); err != nil {
		o.test.Fatal(err)
	}
}

// holds checks a file's content; "" says that there must not be one.
func (o *opened) holds(s sdk.Subvolume, name, want string) {
	o.test.Helper()
	got, err := os.ReadFile(filepath.Join(s.Path, name))
	if want == "" {
		if !errors.Is(err, os.ErrNotExist) {
			o.test.Errorf("%s has %s: %q, %v", s.Name, name, got, err)
		}
		return
	}
	if err != nil || string(got) != want {
		o.test.Errorf("%s of %s holds %q, %v; want %q", name, s.Name, got, err, want)
	}
}

// top gives the volume's own top-level tree, where it has one.
func (o *opened) top() (sdk.Subvolume, bool) {
	o.test.Helper()
	s, err := o.Lookup(o.test.Context(), ".")
	if err != nil && !errors.Is(err, sdk.ErrNotFound) {
		o.test.Fatalf("Lookup of the top level: %v", err)
	}
	return s, err == nil
}

func (o *opened) has(c sdk.Capability) bool {
	o.test.Helper()
	d, err := o.Describe(o.test.Context())
	if err != nil {
		o.test.Fatalf("Describe: %v", err)
	}
	return d.Has(c)
}

// ok fails the test for an error.
func (t *fsTest) ok(what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// refused checks an error's class and that it is fit for people.
func (t *fsTest) refused(what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got %v, want the code %q", what, err, sdk.CodeOf(want))
		return
	}
	var e *sdk.Error
	if errors.As(err, &e); e.Operation == "" || e.Object == "" || e.Message == "" {
		t.Errorf("%s: the error lacks its operation, object or message: %#v", what, e)
	}
}

// same checks that two lists of subvolumes are equal.
func (t *fsTest) same(what string, before, after []sdk.Subvolume) {
	t.Helper()
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("%s (-before +after):\n%s", what, diff)
	}
}

// mountsBelow lists the mount points below a directory.
func (t *fsTest) mountsBelow(directory string) []string {
	t.Helper()
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(directory))
	t.ok("read mounts", err)
	var points []string
	for _, m := range mounts {
		points = append(points, m.Mountpoint)
	}
	return points
}

// cancelled gives a context that is over.
func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// arguments joins kernel arguments to a command line.
func arguments(list ...string) string { return strings.Join(list, " ") }
