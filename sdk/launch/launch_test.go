package launch_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/launch"
)

var faultyPlugin = "github.com/trebuchet-update/tbupdate/sdk/internal/faultyplugin"

func TestStart(t *testing.T) {
	dir, err := os.MkdirTemp("", "tb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program := filepath.Join(dir, "tbupdate-fs-good")
	if out, err := exec.Command("go", "build", "-o", program, faultyPlugin).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	f, err := os.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := launch.Start(context.Background(), launch.Config{Program: f, Path: program, RunDirectory: dir})
	if err != nil {
		t.Fatal(err)
	}
	fs := p.FS()
	d, err := fs.Describe(t.Context())
	t.Log(d, err)
	_, err = fs.Volume(t.Context())
	t.Log(err)
	if err := fs.Configure(t.Context(), sdk.Setup{RunDirectory: dir}); err != nil {
		t.Fatal(err)
	}
	_, err = fs.Lookup(t.Context(), "nothing")
	t.Log(err, sdk.CodeOf(err))
	findings, err := fs.Check(t.Context())
	for _, f := range findings {
		t.Log(f.Subject, f.Problem)
	}
	t.Log(err, fs.Close(), p.ExitStatus(), p.LastLines())
}
