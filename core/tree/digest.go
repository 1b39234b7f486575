package tree

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"

	"golang.org/x/sys/unix"
)

// digestHeader begins what is hashed, so that a digest of another format version
// can never equal one of this.
const digestHeader = "trebuchet tree digest 1\n"

// symlinkMode stands for the mode of every symbolic link: links have none that
// means anything, and filesystems differ in what they report (symlink(7)).
const symlinkMode = unix.S_IFLNK | 0o777

// Digest gives "sha256:" and 64 lower-case hexadecimal digits for all that tbdiff
// version 0 can express of the tree whose top is the directory path: path, mode,
// owner, modification time in whole seconds, content, link target, device number
// and attributes of every entry below the top. It does not depend on the
// filesystem, on hard links, or on the top's own metadata, and leaves sockets out.
// docs/format/tree-digest.md specifies it.
//
// Errors are those of Walk.
func Digest(ctx context.Context, path string) (string, error) {
	top, err := Open(path)
	if err != nil {
		return "", err
	}
	defer top.Close()
	sum := sha256.New()
	sum.Write([]byte(digestHeader))
	var record []byte
	err = Walk(ctx, nil, top, Visitor[[sha256.Size]byte]{
		Prepare: hashContent,
		Visit: func(s *Step[[sha256.Size]byte]) error {
			if s.Move == MoveEntry && s.Target.Kind() != KindSocket {
				record = appendRecord(record[:0], &s.Target.Entry, s.Result)
				sum.Write(record)
			}
			return nil
		},
	})
	if err != nil {
		return "", err
	}
	return formatDigest(sum), nil
}

func formatDigest(sum hash.Hash) string {
	return "sha256:" + hex.EncodeToString(sum.Sum(nil))
}

// hashContent loads the step's entry, and hashes it if it is a plain file.
func hashContent(ctx context.Context, s *Scratch, step *Step[[sha256.Size]byte]) error {
	switch step.Target.Kind() {
	case KindSocket:
		return nil
	case KindFile:
	default:
		return step.Target.Load()
	}
	f, err := step.Target.Open()
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Load(); err != nil {
		return err
	}
	sum := sha256.New()
	if err := f.forward(ctx, s.a, func(piece []byte) { sum.Write(piece) }); err != nil {
		return err
	}
	sum.Sum(step.Result[:0])
	return nil
}

// appendRecord appends what the digest hashes of one entry. Every part has a fixed
// size or is preceded by its size, so that no two trees give the same bytes.
func appendRecord(b []byte, e *Entry, content [sha256.Size]byte) []byte {
	mode := e.Mode
	if e.Kind() == KindSymlink {
		mode = symlinkMode
	}
	b = appendSized(b, e.Path)
	b = binary.LittleEndian.AppendUint32(b, mode)
	b = binary.LittleEndian.AppendUint32(b, e.UID)
	b = binary.LittleEndian.AppendUint32(b, e.GID)
	b = binary.LittleEndian.AppendUint64(b, uint64(e.Modified.Seconds))
	switch {
	case e.Kind() == KindFile:
		b = binary.LittleEndian.AppendUint64(b, e.Size)
		b = append(b, content[:]...)
	case e.Kind() == KindSymlink:
		b = appendSized(b, e.Target)
	case e.IsDevice():
		b = binary.LittleEndian.AppendUint32(b, unix.Major(e.Rdev))
		b = binary.LittleEndian.AppendUint32(b, unix.Minor(e.Rdev))
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(e.Xattrs)))
	for _, x := range e.Xattrs {
		b = appendSized(b, x.Name)
		b = appendSized(b, string(x.Value))
	}
	return b
}

func appendSized(b []byte, s string) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}
