package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trebuchet-update/tbupdate/core/bundle"
	"github.com/trebuchet-update/tbupdate/core/delta/frames"
	"github.com/trebuchet-update/tbupdate/core/delta/history"
	"github.com/trebuchet-update/tbupdate/core/osrelease"
	"github.com/trebuchet-update/tbupdate/sdk/kernelset"
)

func bundleCommand(s streams) *cobra.Command {
	command := &cobra.Command{
		Use:   "bundle",
		Short: "Make, sign and check what is delivered",
		Long: `Make, sign and check bundles: what is delivered to machines. A bundle holds a signed
manifest and streams of version 1, all of which make the same tree: from the trees
that machines may have, and from nothing.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return usage("say what to do; see tbdiff bundle --help") },
	}
	command.AddCommand(bundleCreateCommand(s), bundleInspectCommand(s), bundleVerifyCommand(s), bundleSignCommand(s))
	return command
}

// packaging is a bundle that is to be made.
type packaging struct {
	manifest   bundle.Manifest
	from       []string
	to, out    string
	keys       []string
	notes      string // file
	level      string
	deltasOnly bool
	volume     volume

	origins []history.Snapshot // of from
	target  history.Snapshot   // of to
}

func bundleCreateCommand(s streams) *cobra.Command {
	p := packaging{}
	command := &cobra.Command{
		Use:   "create --product NAME --version VERSION [--fs PLUGIN] [--from ORIGIN]... --to TARGET [--key FILE]... -o FILE",
		Short: "Make a bundle of trees",
		Long: `Make a bundle that takes a machine to the tree TARGET: from each ORIGIN with a delta, and
from any other with all of it. Trees are directories or tarballs (.tar, .tar.gz, .tar.xz, .tar.zst).
With --fs they are the names of read-only snapshots, as for tbdiff create.

Without --key the bundle is not signed: see tbdiff bundle sign.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.run(cmd.Context(), s) },
	}
	flags := command.Flags()
	flags.StringVar(&p.manifest.Product, "product", "", "what it is for; compared with the machine's system.product")
	flags.StringVar(&p.manifest.Version, "version", "", "version of the system")
	flags.StringArrayVar(&p.manifest.Hardware, "hardware", nil, "a revision that it is for; all if there is none")
	flags.StringVar(&p.manifest.MinimumUpdater, "minimum-updater", "", "oldest version of tbupdate that can install it")
	flags.StringToStringVar(&p.manifest.Attributes, "set", nil, "KEY=VALUE in the manifest, for whoever reads it")
	flags.StringVar(&p.notes, "notes", "", "file with notes for people")
	flags.StringArrayVar(&p.from, "from", nil, "tree that machines may have")
	flags.StringVar(&p.to, "to", "", "tree that they are to have")
	flags.BoolVar(&p.deltasOnly, "deltas-only", false, "leave out the stream from nothing")
	flags.StringArrayVar(&p.keys, "key", nil, "private key that signs it")
	flags.StringVar(&p.level, "level", levelDefault, "how much work to put into making it small, here and on the machine: fast, default or small")
	p.volume.flags(command)
	flags.StringVarP(&p.out, "output", "o", "", "file that the bundle goes to")
	return command
}

func (p *packaging) check() error {
	switch {
	case p.manifest.Product == "":
		return usage("say with --product what it is for")
	case p.manifest.Version == "":
		return usage("say with --version which version it is")
	case p.to == "":
		return usage("say with --to which tree it makes")
	case p.out == "":
		return usage("say with -o where the bundle goes")
	case p.deltasOnly && len(p.from) == 0:
		return usage("--deltas-only needs --from: there would be nothing in the bundle")
	}
	return nil
}

func (p *packaging) run(ctx context.Context, s streams) error {
	if err := p.check(); err != nil {
		return err
	}
	level, ok := levels[p.level]
	if !ok {
		return usage("cannot make a bundle at the level %q: it is fast, default or small", p.level)
	}
	signers, err := readPrivateKeys(p.keys)
	if err == nil {
		err = p.trees(ctx, s, func() error { return p.write(ctx, s, level, signers) })
	}
	return finish(err, func(err error) error { return fmt.Errorf("cannot make the bundle %q: %w", p.out, sentence(err)) }, unwritten)
}

// trees has the trees at hand while use runs.
func (p *packaging) trees(ctx context.Context, s streams, use func() error) error {
	names := append(slices.Clone(p.from), p.to)
	ready := func(trees []history.Snapshot) error {
		for _, tree := range trees {
			if isInside(p.out, tree.Path) {
				return usage("cannot write the bundle to %q: it is inside the tree %q that it is made from", p.out, tree.Path)
			}
		}
		p.origins, p.target = trees[:len(p.from)], trees[len(p.from)]
		return use()
	}
	if p.volume.plugin != "" {
		return p.volume.read(ctx, s, names, ready)
	}
	var trees []history.Snapshot
	for _, name := range names {
		dir, release, err := treeOf(ctx, name, filepath.Dir(p.out))
		if err != nil {
			return err
		}
		defer release() // what it leaves is beside the output, and named
		trees = append(trees, history.Snapshot{Path: dir})
	}
	return ready(trees)
}

// write makes the bundle of the trees.
func (p *packaging) write(ctx context.Context, s streams, level frames.Level, signers []*bundle.PrivateKey) error {
	if err := p.describe(); err != nil {
		return err
	}
	payloads, err := p.payloads(ctx, s, level)
	defer closeAll(payloads)
	if err != nil {
		return err
	}
	o, err := openOutput(p.out, s.out)
	if err != nil {
		return err
	}
	var sources []io.ReadSeeker
	for _, file := range payloads {
		sources = append(sources, file)
	}
	if err = bundle.Write(ctx, o, &p.manifest, sources, signers...); err == nil {
		err = o.publish()
	} else {
		err = errors.Join(err, o.discard())
	}
	if err == nil && len(signers) == 0 {
		fmt.Fprintln(s.err, "The bundle is not signed, so no machine accepts it: see tbdiff bundle sign.")
	}
	return err
}

// describe fills in what the tree itself tells.
func (p *packaging) describe() error {
	if p.notes != "" {
		notes, err := os.ReadFile(p.notes)
		if err != nil {
			return fmt.Errorf("cannot read the notes: %w", err)
		}
		p.manifest.Notes = string(notes)
	}
	root, err := kernelset.OpenRoot(p.target.Path)
	if err != nil {
		return err
	}
	defer root.Close()
	set, err := kernelset.Find(root, kernelset.DefaultKernels())
	if errors.Is(err, kernelset.ErrNoKernel) {
		return nil // a tree that is booted by a kernel from elsewhere
	}
	if err != nil {
		return err
	}
	p.manifest.Kernel = set.Version
	for _, file := range set.Files {
		p.manifest.BootSize += int64(file.Size)
	}
	return nil
}

// payloads makes the streams, each in a file that has no name.
func (p *packaging) payloads(ctx context.Context, s streams, level frames.Level) (files []*os.File, err error) {
	origins := slices.Clone(p.origins)
	if !p.deltasOnly {
		origins = append(origins, history.Snapshot{})
	}
	debug.SetMemoryLimit(frames.Memory)
	for _, origin := range origins {
		file, err := unnamed(filepath.Dir(p.out))
		if err != nil {
			return files, err
		}
		files = append(files, file)
		stats, err := frames.Create(ctx, file, origin.Path, p.target.Path, frames.Options{
			Level: level, Origin: origin.Index, Target: p.target.Index, Spool: filepath.Dir(p.out),
		})
		if err != nil {
			return files, err
		}
		payload := bundle.Payload{Written: int64(stats.Header.Totals.Written)}
		if stats.Header.Origin != nil {
			digest := bundle.Digest(*stats.Header.Origin)
			payload.From, payload.FromVersion = &digest, versionIn(origin.Path)
		}
		p.manifest.Payloads = append(p.manifest.Payloads, payload)
		p.manifest.Tree, p.manifest.TreeSize = bundle.Digest(stats.Header.Target), stats.TreeSize
		if len(files) == 1 {
			noteSockets(s, stats.Sockets)
		}
	}
	return files, nil
}

// versionIn gives the version that a tree states, "" for none.
func versionIn(dir string) string {
	version, _ := osrelease.Version(dir) // it is for people only
	return version
}

// unnamed makes a file that goes with its handle.
func unnamed(directory string) (*os.File, error) {
	file, err := os.CreateTemp(directory, ".tbdiff-payload-*")
	if err != nil {
		return nil, fmt.Errorf("cannot put a stream aside: %w", err)
	}
	if err := os.Remove(file.Name()); err != nil {
		file.Close()
		return nil, fmt.Errorf("cannot put a stream aside: %w", err)
	}
	return file, nil
}

func closeAll(files []*os.File) {
	for _, file := range files {
		file.Close()
	}
}

func bundleVerifyCommand(s streams) *cobra.Command {
	var directory string
	threshold := 1
	command := &cobra.Command{
		Use:   "verify FILE --keys DIR [--threshold N]",
		Short: "Check that a bundle is whole, and signed by keys of a directory",
		Long: `Check as a machine does that the bundle FILE is signed by as many of the public keys in DIR
(*.pub) as --threshold says, and that every byte of it is what was signed.`,
		Args: exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if directory == "" {
				return usage("say with --keys where the public keys are")
			}
			signers, err := verifyBundle(cmd.Context(), s, args[0], directory, threshold)
			if err != nil {
				return fail(fmt.Errorf("cannot verify %q: %w", args[0], sentence(err)), "")
			}
			_, err = fmt.Fprintf(s.out, "signed by %s\n", strings.Join(signers, ", "))
			return failOutput(err)
		},
	}
	command.Flags().StringVar(&directory, "keys", "", "directory with public keys, *.pub")
	command.Flags().IntVar(&threshold, "threshold", 1, "how many of them must have signed")
	return command
}

func verifyBundle(ctx context.Context, s streams, name, directory string, threshold int) ([]string, error) {
	keys, err := bundle.ReadKeys(directory)
	if err != nil {
		return nil, err
	}
	file, err := openStream(ctx, s, name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	r, err := bundle.NewReader(ctx, file, bundle.Trust{Keys: keys, Threshold: threshold, Now: time.Now()})
	if err != nil {
		return nil, err
	}
	return r.Signers, r.Verify()
}
