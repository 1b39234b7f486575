package frames

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/trebuchet-update/tbupdate/core/tree"
)

// similar finds, for a file without a predecessor, one of the origin that it probably
// comes from: by names that differ in their numbers only (libfoo.so.1.2, modules/6.1.0-50),
// else by the last component, else by the last component without its numbers.
type similar struct {
	origin *tree.Index
	byKey  map[string][]*tree.Indexed // made when it is needed first
}

func (s *similar) prepare() {
	s.byKey = map[string][]*tree.Indexed{}
	for i := range s.origin.Entries {
		e := &s.origin.Entries[i]
		if e.Kind() != tree.KindFile || e.Size == 0 {
			continue
		}
		for _, key := range keysOf(e.Path) {
			s.byKey[key] = append(s.byKey[key], e)
		}
	}
}

// keysOf gives the keys of a path, best first. They cannot be taken for each other.
func keysOf(p string) []string {
	base := path.Base(p)
	return []string{"path/" + numberless(p), "name/" + base, "kind/" + numberless(base)}
}

// numberless replaces each run of digits by one.
func numberless(s string) string {
	var b strings.Builder
	digits := false
	for i := range len(s) {
		if s[i] >= '0' && s[i] <= '9' {
			if !digits {
				b.WriteByte('0')
			}
			digits = true
			continue
		}
		digits = false
		b.WriteByte(s[i])
	}
	return b.String()
}

// find gives the best file, nil for none. Among several it is the one whose path has
// most in common with this one, then whose size is nearest.
func (s *similar) find(e *tree.Indexed) *tree.Indexed {
	if s.byKey == nil {
		s.prepare()
	}
	for _, key := range keysOf(e.Path) {
		candidates := s.byKey[key]
		if len(candidates) == 0 {
			continue
		}
		return slices.MaxFunc(candidates, func(a, b *tree.Indexed) int {
			return cmp.Or(
				cmp.Compare(inCommon(a.Path, e.Path), inCommon(b.Path, e.Path)),
				cmp.Compare(distance(b.Size, e.Size), distance(a.Size, e.Size)),
			)
		})
	}
	return nil
}

// inCommon gives how many bytes two paths begin and end with together.
func inCommon(a, b string) int {
	most := min(len(a), len(b))
	start := 0
	for start < most && a[start] == b[start] {
		start++
	}
	end := 0
	for end < most-start && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	return start + end
}

func distance(a, b uint64) uint64 { return max(a, b) - min(a, b) }
