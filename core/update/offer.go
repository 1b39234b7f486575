package update

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"github.com/trebuchet-update/tbupdate/core/bundle"
	"github.com/trebuchet-update/tbupdate/core/rootfs"
	"github.com/trebuchet-update/tbupdate/core/source"
	"github.com/trebuchet-update/tbupdate/core/tbdiff"
	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// System says what machine this is, for bundles that name the machines that they are
// for. "" is not configured, and fits nothing that is named.
type System struct{ Product, Hardware string }

// offer is what an update is made from, opened as far as nothing was written yet.
type offer struct {
	// manifest is that of a bundle, nil for a bare stream.
	manifest *bundle.Manifest
	signers  []string
	// payload is the number of the bundle's payload that was chosen.
	payload int

	// Either of them is the stream: frames for version 1.
	classic *tbdiff.Reader
	frames  *v1.Reader

	size int64 // of the stream in bytes, -1 when it is not known
	// digest is what names it: that of a bundle's manifest, or of all bytes of a bare
	// stream, which is known when they were read.
	digest func() string
	read   func() int64 // bytes of the stream that were read
}

// openOffer reads what comes before the stream, and refuses what is not for this
// machine. Nothing of a bundle is believed before its signatures were verified.
func (s *session) openOffer(ctx context.Context, payload *source.Source, current sdk.Subvolume, options ApplyOptions) (*offer, error) {
	head, err := payload.Peek(len(bundle.Magic))
	if err != nil {
		return nil, err
	}
	o := &offer{size: payload.Size}
	var stream io.Reader
	if string(head) == bundle.Magic {
		stream, err = s.openBundle(ctx, o, payload, current, options)
	} else {
		stream, err = s.openBare(o, payload, options)
	}
	if err != nil {
		return nil, err
	}
	counted := &countingReader{reader: stream, total: o.size, report: s.Reporter.Progress}
	o.read = func() int64 { return counted.read }
	if string(head) != v1.Magic && o.manifest == nil {
		o.classic = tbdiff.NewReader(counted)
		return o, nil
	}
	if o.frames, err = v1.NewReader(counted); err != nil {
		return nil, err
	}
	return o, s.checkStream(ctx, o, current, options)
}

// openBare opens a stream that nobody has signed.
func (s *session) openBare(o *offer, payload *source.Source, options ApplyOptions) (io.Reader, error) {
	if !options.AllowUnsigned {
		return nil, refusal(Refused, "it is not signed; --allow-unsigned accepts a bare tbdiff stream")
	}
	sum := sha256.New()
	o.digest = func() string { return source.DigestText(sum.Sum(nil)) }
	return io.TeeReader(payload, hashWriter{sum}), nil
}

// hashWriter gives a hash as what it is: something that never fails.
type hashWriter struct{ hash.Hash }

// openBundle verifies a bundle, checks that it is for this machine, and opens the
// payload for it.
func (s *session) openBundle(ctx context.Context, o *offer, payload *source.Source, current sdk.Subvolume, options ApplyOptions) (io.Reader, error) {
	r, err := bundle.NewReader(ctx, payload, s.Trust)
	if err != nil {
		return nil, err
	}
	m := r.Manifest
	o.manifest, o.signers = m, r.Signers
	o.digest = r.ID.String
	if err := s.checkManifest(m, options); err != nil {
		return nil, err
	}
	if err := s.checkKnown(options, m.Tree.String(), r.ID.String(), m.Version); err != nil {
		return nil, err
	}
	// What makes the whole tree starts from any.
	var have bundle.Digest
	if !options.Full {
		if have, err = s.exactTree(ctx, current, options); err != nil {
			return nil, err
		}
	}
	o.payload = m.Choose(have, options.Full)
	switch {
	case o.payload < 0 && options.Full:
		return nil, refusal(Refused, "it has no payload that makes the whole tree")
	case o.payload < 0:
		return nil, refusal(Refused, "it has no payload for this machine: its current tree is %s, and the bundle starts from %s", have, origins(m))
	}
	o.size = m.Payloads[o.payload].Size
	return r.Payload(o.payload)
}

// origins lists what a bundle's payloads start from.
func origins(m *bundle.Manifest) string {
	var from []string
	for _, p := range m.Payloads {
		if p.From != nil {
			from = append(from, strings.TrimSpace(p.FromVersion+" "+p.From.String()))
		}
	}
	if len(from) == 0 {
		return "nothing"
	}
	return strings.Join(from, ", ")
}

// checkManifest refuses a bundle that is for another machine, or that goes back.
func (s *session) checkManifest(m *bundle.Manifest, options ApplyOptions) error {
	switch {
	case m.Product != s.System.Product:
		return refusal(Refused, "it is for the product %q, and this is %s", m.Product, orNone(s.System.Product))
	case len(m.Hardware) > 0 && !slices.Contains(m.Hardware, s.System.Hardware):
		return refusal(Refused, "it is for the hardware %q, and this is %s", m.Hardware, orNone(s.System.Hardware))
	case m.MinimumUpdater != "" && s.Updater != "" && bundle.CompareVersions(s.Updater, m.MinimumUpdater) < 0:
		return refusal(Refused, "it takes tbupdate %s or newer, and this is %s", m.MinimumUpdater, s.Updater)
	case options.AllowDowngrade || s.journal.Floor == "" || bundle.CompareVersions(m.Version, s.journal.Floor) >= 0:
		return nil
	}
	return refusal(Refused, "it is version %s, and version %s was confirmed on this machine; --allow-downgrade installs it all the same", m.Version, s.journal.Floor)
}

// orNone quotes a setting for people.
func orNone(value string) string {
	if value == "" {
		return "not configured ([system] of the configuration)"
	}
	return fmt.Sprintf("%q", value)
}

// exactTree gives the exact digest of the current tree.
func (s *session) exactTree(ctx context.Context, current sdk.Subvolume, options ApplyOptions) (have bundle.Digest, err error) {
	_, exact, err := s.currentDigests(ctx, current, options.VerifyFull)
	if err != nil {
		return have, err
	}
	if err := have.UnmarshalText([]byte(exact)); err != nil {
		return have, fmt.Errorf("cannot read the journal: %w", err)
	}
	return have, nil
}

// checkStream refuses a stream that does not start from this machine's tree, or does not
// lead where the bundle says.
func (s *session) checkStream(ctx context.Context, o *offer, current sdk.Subvolume, options ApplyOptions) error {
	header := o.frames.Header()
	if o.manifest != nil {
		payload := o.manifest.Payloads[o.payload]
		same := payload.From == nil && header.Origin == nil || payload.From != nil && header.Origin != nil && v1.Digest(*payload.From) == *header.Origin
		if !same || v1.Digest(o.manifest.Tree) != header.Target {
			return refusal(Refused, "its payload is not what its manifest says")
		}
		return nil
	}
	if header.Origin == nil {
		return nil
	}
	have, err := s.exactTree(ctx, current, options)
	if err == nil && v1.Digest(have) != *header.Origin {
		err = refusal(Refused, "it starts from the tree %s, and this machine's current tree is %s", bundle.Digest(*header.Origin), have)
	}
	return err
}

// fromNothing reports whether the stream makes the whole tree.
func (o *offer) fromNothing() bool { return o.frames != nil && o.frames.Header().Origin == nil }

// version gives the version that it leads to, "" where only the new tree tells.
func (o *offer) version(options ApplyOptions) string {
	if o.manifest != nil {
		return o.manifest.Version
	}
	return options.Version
}

// deploy carries the stream out in the tree at path. One that makes the whole tree takes
// away what is there first.
func (o *offer) deploy(ctx context.Context, path string) error {
	target, err := rootfs.Open(path)
	if err != nil {
		return err
	}
	defer target.Close()
	switch {
	case o.frames == nil:
		_, err = target.Deploy(ctx, o.classic, rootfs.Options{})
		return err
	case o.fromNothing():
		if err := target.Empty(ctx); err != nil {
			return err
		}
	}
	_, err = target.DeployFrames(ctx, o.frames, rootfs.Options{})
	return err
}

// room gives the bytes that it takes on the volume and, where that is known, in /boot.
func (o *offer) room() (volume, boot int64) {
	volume = o.size
	if o.frames != nil {
		volume = max(volume, int64(o.frames.Header().Totals.Content))
	}
	if o.manifest != nil {
		boot = o.manifest.BootSize
	}
	return volume, boot
}

// drain reads the stream to its end and forgets it.
func (o *offer) drain() error {
	if o.frames == nil {
		return drain(o.classic)
	}
	for {
		if _, err := o.frames.Next(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}
