package sendstream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// encode writes a stream as the kernel does.
func encode(commands ...Command) []byte {
	stream := binary.LittleEndian.AppendUint32([]byte(magic), version)
	for _, c := range commands {
		var body []byte
		attribute := func(number uint16, value string) {
			body = binary.LittleEndian.AppendUint16(body, number)
			body = binary.LittleEndian.AppendUint16(body, uint16(len(value)))
			body = append(body, value...)
		}
		if c.Kind != End {
			attribute(attributePath, c.Path)
		}
		switch c.Kind {
		case Rename:
			attribute(attributePathTo, c.To)
		case Link:
			attribute(attributePathLink, c.To)
		case Symlink:
			attribute(attributePathLink, "where it leads")
		}
		stream = append(stream, seal(c.Kind, body)...)
	}
	return stream
}

// seal puts the header before a command.
func seal(kind Kind, body []byte) []byte {
	command := binary.LittleEndian.AppendUint32(nil, uint32(len(body)))
	command = binary.LittleEndian.AppendUint16(command, uint16(kind))
	command = append(command, 0, 0, 0, 0)
	command = append(command, body...)
	binary.LittleEndian.PutUint32(command[6:], checksum(command))
	return command
}

func decode(stream []byte) ([]Command, error) {
	r, err := NewReader(bytes.NewReader(stream))
	if err != nil {
		return nil, err
	}
	var commands []Command
	for {
		c, err := r.Next()
		if err == io.EOF {
			return commands, nil
		}
		if err != nil {
			return commands, err
		}
		commands = append(commands, c)
	}
}

var every = []Command{
	{Kind: Snapshot, Path: "b"}, {Kind: SetTimes}, {Kind: MakeFile, Path: "o257-7-0"},
	{Kind: Rename, Path: "o257-7-0", To: "usr/bin/tool"}, {Kind: Link, Path: "usr/bin/other", To: "usr/bin/tool"},
	{Kind: Symlink, Path: "s"}, {Kind: UpdateExtent, Path: "etc/fstab"}, {Kind: Unlink, Path: "old"}, {Kind: End},
}

func TestRoundTrip(t *testing.T) {
	got, err := decode(encode(every...))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(every, got); diff != "" {
		t.Error(diff)
	}
}

func TestDamagedStreamsAreMalformed(t *testing.T) {
	good := encode(every...)
	for end := range len(good) {
		if _, err := decode(good[:end]); !errors.Is(err, ErrMalformed) {
			t.Errorf("cut at %d of %d: %v", end, len(good), err)
		}
	}
	for place := range good {
		bad := slices.Clone(good)
		bad[place] ^= 0x10
		if _, err := decode(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("byte %d damaged: %v", place, err)
		}
	}
	header := encode()
	for name, command := range map[string][]byte{
		"unknown command":         seal(lastKind+1, nil),
		"command 0":               seal(0, nil),
		"attribute beyond end":    seal(Unlink, []byte{attributePath, 0, 5, 0, 'a'}),
		"attribute header is cut": seal(Unlink, []byte{attributePath, 0, 0}),
		"claims 4 GiB":            {0xff, 0xff, 0xff, 0xff, 17, 0, 0, 0, 0, 0},
	} {
		if _, err := decode(append(slices.Clone(header), command...)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTreeFollowsNames(t *testing.T) {
	for _, c := range []struct {
		name     string
		commands []Command
		want     []Changed
	}{
		{"content", []Command{{UpdateExtent, "a/b", ""}, {SetTimes, "a/b", ""}}, []Changed{{"a/b", "a/b"}}},
		{"the top", []Command{{SetTimes, "", ""}}, []Changed{{".", "."}}},
		{"new under a temporary name", []Command{{MakeFile, "o257-7-0", ""}, {Rename, "o257-7-0", "a"}, {ChangeMode, "a", ""}},
			[]Changed{{"", "a"}}},
		{"removed under a temporary name", []Command{{Rename, "a", "o257-7-0"}, {Unlink, "o257-7-0/b", ""}, {RemoveDirectory, "o257-7-0", ""}},
			[]Changed{{"a", ""}, {"a/b", ""}}},
		{"replaced", []Command{{Unlink, "a", ""}, {MakeFile, "o9-9-0", ""}, {Rename, "o9-9-0", "a"}}, []Changed{{"a", ""}, {"", "a"}}},
		{"change within a moved directory", []Command{{Rename, "a", "b"}, {Truncate, "b/c/d", ""}}, []Changed{{"a", "b"}, {"a/c/d", "b/c/d"}}},
		{"moved after a change within", []Command{{Truncate, "a/c", ""}, {Rename, "a", "b"}}, []Changed{{"a/c", "b/c"}, {"a", "b"}}},
		{"exchanged", []Command{{Rename, "a", "o1-1-0"}, {Rename, "b", "a"}, {Rename, "o1-1-0", "b"}, {Write, "a/x", ""}},
			[]Changed{{"a", "b"}, {"b", "a"}, {"b/x", "a/x"}}},
		{"link", []Command{{Link, "b", "a"}}, []Changed{{"a", "a"}, {"", "b"}}},
		{"moved onto a name", []Command{{Write, "b", ""}, {Rename, "a", "b"}}, []Changed{{"b", ""}, {"a", "b"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := NewTree()
			for _, command := range c.commands {
				if err := tree.Apply(command); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(c.want, slices.Collect(tree.Changed())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTreeRefusesWhatCannotBe(t *testing.T) {
	for _, c := range []struct {
		name     string
		commands []Command
	}{
		{"no path", []Command{{Unlink, "", ""}}},
		{"parent", []Command{{Write, "../a", ""}}},
		{"absolute", []Command{{Write, "/a", ""}}},
		{"removed before", []Command{{Unlink, "a", ""}, {Write, "a", ""}}},
		{"moved before", []Command{{Rename, "a", "b"}, {Write, "a/c", ""}}},
		{"never made", []Command{{MakeDirectory, "a", ""}, {Write, "a/b", ""}}},
		{"into itself", []Command{{MakeDirectory, "a", ""}, {MakeDirectory, "a/b", ""}, {Rename, "a", "a/b/c"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := NewTree()
			var err error
			for _, command := range c.commands {
				err = tree.Apply(command)
			}
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func FuzzStream(f *testing.F) {
	f.Add(encode(every...))
	f.Add(encode(Command{Kind: Rename, Path: "a", To: "a/b"}, Command{Kind: End}))
	f.Fuzz(func(t *testing.T, stream []byte) {
		r, err := NewReader(bytes.NewReader(stream))
		if err != nil {
			return
		}
		follow(t, func() (Command, error) { return r.Next() })
	})
}

// FuzzTree gives commands to the tree that no checksum protects: three bytes each.
func FuzzTree(f *testing.F) {
	f.Add([]byte{9, 1, 2, 9, 2, 9, 12, 1, 0, 3, 5, 0})
	names := []string{"", "a", "a/b", "a/b/c", "b", "b/a", "o257-7-0", "o257-7-0/a", "c/..", "a/b/c/a"}
	f.Fuzz(func(t *testing.T, data []byte) {
		follow(t, func() (Command, error) {
			if len(data) < 3 {
				return Command{}, io.EOF
			}
			c := Command{Kind: Kind(data[0]%uint8(lastKind) + 1), Path: names[int(data[1])%len(names)], To: names[int(data[2])%len(names)]}
			data = data[3:]
			return c, nil
		})
	})
}

// follow applies commands and checks that every path that comes out is one.
func follow(t *testing.T, next func() (Command, error)) {
	tree := NewTree()
	for {
		c, err := next()
		if err != nil {
			break
		}
		_ = tree.Apply(c) // the tree must stay whole also after an error
	}
	taken := map[string]bool{}
	for changed := range tree.Changed() {
		if changed.New != "" && taken[changed.New] {
			t.Errorf("two files end up as %q", changed.New)
		}
		taken[changed.New] = true
		for _, path := range []string{changed.Old, changed.New} {
			if path != "." && path != "" && slices.Contains(strings.Split(path, "/"), "..") {
				t.Errorf("path %q", path)
			}
		}
	}
}
