package rootfs_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/rootfs"
	"github.com/trebuchet-update/tbupdate/core/tbdiff"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "the tests of core/rootfs set owners, make device nodes and mount: run them as root")
		os.Exit(1)
	}
	loopback.Main(m)
}

// item is one entry of a tree, as expected.json describes it.
type item struct {
	Path   string            `json:"path"`
	Mode   string            `json:"mode"`
	UID    uint32            `json:"uid"`
	GID    uint32            `json:"gid"`
	Mtime  int64             `json:"mtime"`
	Size   int64             `json:"size,omitempty"`
	SHA256 string            `json:"sha256,omitempty"`
	Target string            `json:"target,omitempty"`
	Rdev   []uint32          `json:"rdev,omitempty"`
	Xattrs map[string]string `json:"xattrs,omitempty"`
}

func expected(t testing.TB, path string) []item {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var items []item
	if err := json.Unmarshal(b, &items); err != nil {
		t.Fatal(err)
	}
	return items
}

// describe gives all entries below root, sorted by path.
func describe(t testing.TB, root string) []item {
	t.Helper()
	var items []item
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		items = append(items, describeOne(t, root, path))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(items, func(x, y item) int { return strings.Compare(x.Path, y.Path) })
	return items
}

func describeOne(t testing.TB, root, path string) item {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	it := item{
		Path:  escape(strings.TrimPrefix(path, root+"/")),
		Mode:  strconv.FormatUint(uint64(st.Mode), 8),
		UID:   st.Uid,
		GID:   st.Gid,
		Mtime: int64(st.Mtim.Sec),
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(b)
		it.Size, it.SHA256 = st.Size, hex.EncodeToString(sum[:])
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			t.Fatal(err)
		}
		it.Target = target
	case unix.S_IFBLK, unix.S_IFCHR:
		it.Rdev = []uint32{unix.Major(st.Rdev), unix.Minor(st.Rdev)}
	}
	it.Xattrs = xattrs(t, path)
	return it
}

// xattrs gives the attributes of path in hex, without following a link; nil for none.
func xattrs(t testing.TB, path string) map[string]string {
	t.Helper()
	list := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, list)
	if err != nil {
		t.Fatalf("llistxattr %s: %v", path, err)
	}
	var all map[string]string
	for _, name := range strings.Split(string(list[:n]), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			t.Fatalf("lgetxattr %s %s: %v", path, name, err)
		}
		if all == nil {
			all = map[string]string{}
		}
		all[name] = hex.EncodeToString(value[:n])
	}
	return all
}

// escape writes bytes that are no UTF-8 as \xNN, as expected.json does.
func escape(path string) string {
	var b strings.Builder
	for len(path) > 0 {
		r, n := utf8.DecodeRuneInString(path)
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, `\x%02x`, path[0])
		} else {
			b.WriteString(path[:n])
		}
		path = path[n:]
	}
	return b.String()
}

// unpack unpacks a tar file into a new directory below parent.
func unpack(t testing.TB, tarFile, parent string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "tree")
	if err != nil {
		t.Fatal(err)
	}
	run(t, "tar", "--acls", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", tarFile, "-C", dir)
	return dir
}

func run(t testing.TB, program string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Fatalf("%s is missing: install it (GNU tar, btrfs-progs, e2fsprogs, util-linux)", program)
	}
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// deploy carries out a stream in dir.
func deploy(dir string, stream []byte) (rootfs.Stats, error) {
	tree, err := rootfs.Open(dir)
	if err != nil {
		return rootfs.Stats{}, err
	}
	defer tree.Close()
	return tree.Deploy(context.Background(), tbdiff.NewReader(bytes.NewReader(stream)), rootfs.Options{})
}

// content is the payload of the command before it.
type content string

// stream encodes commands; each FileCreate and FileDelta is followed by its content,
// unless that is empty. Their sizes are filled in.
func stream(t testing.TB, steps ...any) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tbdiff.NewWriter(&b)
	for i, s := range steps {
		// A file without content stands at the end or before another command.
		var data content
		if i+1 < len(steps) {
			data, _ = steps[i+1].(content)
		}
		var err error
		switch c := s.(type) {
		case tbdiff.FileCreate:
			c.Size = uint32(len(data))
			err = w.WriteData(c, strings.NewReader(string(data)))
		case tbdiff.FileDelta:
			c.Size = uint32(len(data))
			err = w.WriteData(c, strings.NewReader(string(data)))
		case content:
		default:
			err = w.Write(c.(tbdiff.Command))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// used gives the bytes in use of the filesystem that holds path.
func used(t testing.TB, path string) int64 {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Blocks-st.Bfree) * int64(st.Bsize)
}
