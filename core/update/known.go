package update

import (
	"context"
	"slices"

	"github.com/trebuchet-update/tbupdate/core/generation"
	"github.com/trebuchet-update/tbupdate/core/source"
)

// unknownVersion is the version of a tree that states none.
const unknownVersion = "unknown"

// checkKnown refuses what is known to have failed on this machine: the same tree, the
// same payload or the same version. It is called with what is known so far, and again
// when more is; "" is not known yet. What failed once would most likely fail again,
// and a fleet that offers it again must not have its machines reboot all day.
func (s *session) checkKnown(options ApplyOptions, tree, payload, version string) error {
	if options.Force {
		return nil
	}
	for _, g := range slices.Backward(s.journal.Generations) {
		if g.State != generation.Failed || g.Overruled {
			continue
		}
		what := ""
		switch {
		case tree != "" && (g.Tree == tree || g.Exact == tree):
			what = "this very tree"
		case payload != "" && g.Payload == payload:
			what = "this very update"
		case version != "" && version != unknownVersion && g.Version == version:
			what = "version " + version
		default:
			continue
		}
		when := ""
		if !g.FailedAt.IsZero() {
			when = " on " + g.FailedAt.Format("2006-01-02 15:04 MST")
		}
		return refusal(Refused, "%s failed%s as generation %s: %s; --force installs it all the same", what, when, g.ID, g.Reason)
	}
	return nil
}

// checkKnownAhead does that with what the operator says, and with a payload that can
// be read twice.
func (s *session) checkKnownAhead(ctx context.Context, payload *source.Source, options ApplyOptions) error {
	if options.Force || !slices.ContainsFunc(s.journal.Generations, func(g generation.Generation) bool { return g.State == generation.Failed }) {
		return nil
	}
	if err := s.checkKnown(options, options.Result, "", options.Version); err != nil {
		return err
	}
	digest, err := payload.DigestAhead(ctx)
	if err != nil {
		return err
	}
	return s.checkKnown(options, "", digest, "")
}

// overrule takes back what failed generations say against the content of one that was
// confirmed: it works after all.
func (s *session) overrule(good generation.Generation) {
	for i := range s.journal.Generations {
		g := &s.journal.Generations[i]
		if g.State == generation.Failed && (g.Tree == good.Tree || g.Payload != "" && g.Payload == good.Payload || g.Version == good.Version) {
			g.Overruled = true
		}
	}
}
