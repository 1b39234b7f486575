// Package tbupdate_test holds the rules of the house: which part of the tree may
// know which. They are told in ARCHITECTURE.md.
package tbupdate_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "github.com/trebuchet-update/tbupdate"

// mayImport says what the packages below a folder may import of this module, by
// folder. The longest match counts. A folder may always import what is below
// itself; what is not listed here may import everything but programs.
//
// Direct imports are enough to look at: a way round through a third package
// would have to begin with a forbidden step of its own.
var mayImport = map[string][]string{
	"core":        {"sdk"},
	"core/bundle": {}, // device and server share it, so it brings nothing along
	"sdk":         {},
	"plugins":     {"sdk"},
	"server":      {"core/bundle"},
	"lab":         {"lab", "sdk"}, // it judges from outside, by what programs say
	"demo":        {"lab"},
}

// programs are folders that are run, not imported but where mayImport says so.
var programs = []string{"cmd", "plugins", "lab", "demo", "bench"}

// foreignNames are filesystems and boot loaders, as core must not name them. All
// spellings are in lower case.
var foreignNames = []string{
	"btrfs", "zfs", "ext4", "xfs", "f2fs",
	"grub", "extboot", "extlinux", "syslinux", "flash-kernel", "flashkernel",
	"u-boot", "uboot", "systemd-boot", "barebox",
}

func TestImportRules(t *testing.T) {
	t.Parallel()
	for _, source := range sources(t, parser.ImportsOnly) {
		for _, spec := range source.syntax.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatalf("cannot read an import of %s: %v", source.path, err)
			}
			if problem := forbidden(source.folder(), imported); problem != "" {
				t.Errorf("%s: %s", source.path, problem)
			}
		}
	}
}

func TestCoreNamesNoFilesystemAndNoBootLoader(t *testing.T) {
	t.Parallel()
	for _, source := range sources(t, 0) {
		if !within(source.folder(), "core") || strings.HasSuffix(source.path, "_test.go") {
			continue
		}
		for _, finding := range namesIn(source) {
			t.Error(finding)
		}
	}
}

func TestRulesFindWhatTheyForbid(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, folder, imported string
		want                   string
	}{
		{"core uses the sdk", "core/update", "sdk", ""},
		{"core uses core", "core/update", "core/tree", ""},
		{"core uses a plugin", "core/update", "plugins/btrfs/ioctl", "core/update must not import plugins/btrfs/ioctl"},
		{"core uses the server", "core/source", "server/protocol", "core/source must not import server/protocol"},
		{"bundle uses core", "core/bundle", "core/tbdiff", "core/bundle must not import core/tbdiff"},
		{"sdk uses sdk", "sdk/conformance", "sdk", ""},
		{"sdk uses core", "sdk/conformance", "core/tree", "sdk/conformance must not import core/tree"},
		{"sdk uses a plugin", "sdk/loopback", "plugins/btrfs/ioctl", "sdk/loopback must not import plugins/btrfs/ioctl"},
		{"plugin uses the sdk", "plugins/btrfs", "sdk/wire", ""},
		{"plugin uses its own", "plugins/extboot", "plugins/extboot/grubenv", ""},
		{"plugin uses core", "plugins/extboot", "core/rootfs", "plugins/extboot must not import core/rootfs"},
		{"plugin uses another", "plugins/zfs", "plugins/btrfs/ioctl", "plugins/zfs must not import plugins/btrfs/ioctl"},
		{"plugin uses one whose name is longer", "plugins/ext", "plugins/extboot/grubenv", "plugins/ext must not import plugins/extboot/grubenv"},
		{"server uses bundle", "server/store", "core/bundle", ""},
		{"server uses the updater", "server/store", "core/update", "server/store must not import core/update"},
		{"program uses core", "cmd/tbupdate", "core/update", ""},
		{"program uses a plugin", "cmd/tbupdate", "plugins/btrfs/ioctl", "cmd/tbupdate must not import plugins/btrfs/ioctl"},
		{"lab uses its own", "lab/scenario", "lab/qemu", ""},
		{"lab uses core", "lab/scenario", "core/update", "lab/scenario must not import core/update"},
		{"lab uses a program", "lab/machine", "cmd/tbupdate", "lab/machine must not import cmd/tbupdate"},
		{"demo uses the lab", "demo/machine", "lab/qemu", ""},
		{"program uses the lab", "cmd/tbupdate", "lab/qemu", "cmd/tbupdate must not import lab/qemu"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, forbidden(c.folder, module+"/"+c.imported)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNamesAreFoundInIdentifiersAndStrings(t *testing.T) {
	t.Parallel()
	const text = `package update // a comment may say GRUB

const magic = "BTRFS_SUPER_MAGIC"
func isZFSRoot() bool { return magic != "loader" }
`
	source := parse(t, "core/update/wrong.go", text, 0)
	want := []string{
		`core/update/wrong.go:3:15: core names "btrfs"`,
		`core/update/wrong.go:4:6: core names "zfs"`,
	}
	if diff := cmp.Diff(want, namesIn(source)); diff != "" {
		t.Error(diff)
	}
}

// forbidden says why a package in folder must not import the package imported, or
// "" when it may.
func forbidden(folder, imported string) string {
	target, ours := strings.CutPrefix(imported, module+"/")
	if !ours || within(target, home(folder)) {
		return ""
	}
	refuse := fmt.Sprintf("%s must not import %s", folder, target)
	allowed, restricted := rule(folder)
	switch {
	case withinAny(target, allowed):
		return ""
	case restricted, withinAny(target, programs):
		return refuse
	}
	return ""
}

// rule gives the entry of mayImport for a folder, and whether there is one.
func rule(folder string) ([]string, bool) {
	for f := folder; f != "."; f = filepath.Dir(f) {
		if allowed, ok := mayImport[f]; ok {
			return allowed, true
		}
	}
	return nil, false
}

// home gives the folder whose packages belong together with folder: one program
// for programs and plugins, else the entry of mayImport or the top folder.
func home(folder string) string {
	parts := strings.Split(folder, "/")
	if len(parts) > 1 && withinAny(folder, programs) {
		return strings.Join(parts[:2], "/")
	}
	for f := folder; f != "."; f = filepath.Dir(f) {
		if _, ok := mayImport[f]; ok {
			return f
		}
	}
	return parts[0]
}

// within reports whether folder is parent or below it.
func within(folder, parent string) bool {
	return folder == parent || strings.HasPrefix(folder, parent+"/")
}

func withinAny(folder string, parents []string) bool {
	for _, parent := range parents {
		if within(folder, parent) {
			return true
		}
	}
	return false
}

// source is one Go file of the module.
type source struct {
	path   string // slash-separated, relative to the top of the module
	files  *token.FileSet
	syntax *ast.File
}

func (s source) folder() string { return filepath.ToSlash(filepath.Dir(s.path)) }

// sources parses every Go file of the module, tests and files of all build
// constraints included.
func sources(t *testing.T, mode parser.Mode) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && path != "." && (name == "build" || name == "bin" || name == "testdata" || name[0] == '.') {
			return filepath.SkipDir
		}
		if !entry.IsDir() && strings.HasSuffix(name, ".go") {
			all = append(all, parse(t, filepath.ToSlash(path), nil, mode))
		}
		return nil
	})
	if err != nil {
		t.Fatalf("cannot walk the module: %v", err)
	}
	if len(all) < 10 {
		t.Fatalf("found only %d Go files: the rules would pass for nothing", len(all))
	}
	return all
}

// parse parses one file, from text or, where that is nil, from the disk.
func parse(t *testing.T, path string, text any, mode parser.Mode) source {
	t.Helper()
	files := token.NewFileSet()
	syntax, err := parser.ParseFile(files, path, text, mode)
	if err != nil {
		t.Fatalf("cannot parse %s: %v", path, err)
	}
	return source{path: path, files: files, syntax: syntax}
}

// namesIn lists the places where the file names a filesystem or a boot loader.
func namesIn(s source) []string {
	var found []string
	report := func(at token.Pos, text string) {
		for _, name := range foreignNames {
			if strings.Contains(strings.ToLower(text), name) {
				found = append(found, fmt.Sprintf("%s: core names %q", s.files.Position(at), name))
			}
		}
	}
	ast.Inspect(s.syntax, func(node ast.Node) bool {
		switch n := node.(type) {
		case *ast.Ident:
			report(n.Pos(), n.Name)
		case *ast.BasicLit:
			report(n.Pos(), n.Value)
		}
		return true
	})
	return found
}
