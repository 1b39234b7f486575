// Package frames turns two directory trees into a tbdiff stream of version 1.
//
// It reads both trees (core/tree), plans what becomes of each path (planner), puts
// commands and contents together into frames (framer), and packs the frames side by side
// (packer). Nothing in it depends on time, on the number of processors or on the order
// in which a filesystem lists names: the same trees and level give the same bytes.
package frames

import (
	"context"
	"fmt"
	"io"
	"os"

	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
	"github.com/trebuchet-update/tbupdate/core/tree"
)

// Memory is a limit that a program which creates does well to set (runtime/debug.SetMemoryLimit),
// in bytes: garbage is taken away before it adds up to more.
const Memory = 256 << 20

// Options of Create.
type Options struct {
	Level Level
	// Origin and Target are what is known of the trees; nil is read.
	Origin, Target *tree.Index
	// Spool is the directory for the frames until their number is known, "" for the
	// system's own.
	Spool string
}

// Stats counts what Create did.
type Stats struct {
	Header   v1.Header
	Frames   int
	Bytes    int64    // of the stream
	TreeSize int64    // of the plain files of the target together, in bytes
	Sockets  []string // paths of sockets in the target, which were left out
}

// Create writes to w the stream of version 1 that turns the tree origin into the tree
// target, each given by the path of its top directory; an origin of "" is nothing.
//
// A level that the program does not have is an ErrLevel. Both trees must stay as they are meanwhile; an entry that changes while it is read is
// a *tree.ChangedError. After an error w may have the beginning of a stream.
func Create(ctx context.Context, w io.Writer, origin, target string, o Options) (Stats, error) {
	if err := o.Level.Check(); err != nil {
		return Stats{}, err
	}
	was, is, err := readBoth(ctx, origin, target, o)
	if err != nil {
		return Stats{}, err
	}
	frames, err := spool(o.Spool)
	if err != nil {
		return Stats{}, err
	}
	defer frames.Close()
	stats := Stats{Header: v1.Header{Target: is.Digest(), ContentLimit: contentLimit, SourceLimit: sourceLimit}}
	if origin != "" {
		digest := v1.Digest(was.Digest())
		stats.Header.Origin = &digest
	}
	p := newPlanner(was, is)
	if origin != "" {
		p.late = p.packedFiles(target, o.Level)
	}
	f := &framer{
		ctx: ctx, planner: p, similar: &similar{origin: was}, made: map[v1.Digest]string{},
		trees: map[*tree.Index]string{was: origin, is: target}, places: newPlaces(readBytes(p.pairs)), spool: o.Spool,
	}
	err = packAll(ctx, o.Level, &stats, frames, func(emit func(*unpacked) error) error {
		f.emit = emit
		steps := p.plan()
		if err := f.readOrigin(); err != nil {
			return fmt.Errorf("cannot read the origin: %w", err)
		}
		return f.run(steps)
	})
	stats.Sockets, stats.TreeSize = p.sockets, sizeOf(is)
	if err != nil {
		return stats, err
	}
	return stats, assemble(w, &stats, frames)
}

// spool makes a file without a name, for what is put aside.
func spool(directory string) (*os.File, error) {
	file, err := os.CreateTemp(directory, ".tbdiff-spool-*")
	if err != nil {
		return nil, fmt.Errorf("cannot put something aside: %w", err)
	}
	if err := os.Remove(file.Name()); err != nil {
		file.Close()
		return nil, fmt.Errorf("cannot put something aside: %w", err)
	}
	return file, nil
}

// readBoth reads both trees, where they are not known.
func readBoth(ctx context.Context, origin, target string, o Options) (was, is *tree.Index, err error) {
	was, is = o.Origin, o.Target
	switch {
	case was != nil:
	case origin == "":
		was = &tree.Index{}
	default:
		if was, err = tree.ReadIndex(ctx, origin); err != nil {
			return nil, nil, fmt.Errorf("cannot read the origin: %w", err)
		}
	}
	if is == nil {
		if is, err = tree.ReadIndex(ctx, target); err != nil {
			return nil, nil, fmt.Errorf("cannot read the target: %w", err)
		}
	}
	return was, is, nil
}

// assemble writes the stream, now that the header is known.
func assemble(w io.Writer, stats *Stats, frames *os.File) error {
	head, err := v1.AppendHeader(nil, &stats.Header)
	if err != nil {
		return err
	}
	if _, err := frames.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	n, err := io.Copy(w, frames)
	if err != nil {
		return err
	}
	end := v1.AppendEnd(nil)
	stats.Bytes = int64(len(head)+len(end)) + n
	_, err = w.Write(end)
	return err
}

// sizeOf gives the bytes of the plain files of a tree, those with several names once.
func sizeOf(x *tree.Index) int64 {
	var sum int64
	for i := range x.Entries {
		if e := &x.Entries[i]; e.First == "" {
			sum += int64(e.Size)
		}
	}
	return sum
}
