package delta

import (
	"fmt"
	"math"
	"strings"

	"github.com/trebuchet-update/tbupdate/core/tree"
)

// Limits of a stream of version 0. The last three are the codec's, which refuses
// more by name only; here the whole path is known.
const (
	maxFile        = math.MaxUint32 // bytes: the fields for sizes and offsets have 32 bits
	maxRdev        = math.MaxUint32
	maxDepth       = 2048
	maxXattrNames  = 64 << 10
	maxXattrValues = 4 << 20
)

// UnsupportedError says that a target holds something that a stream of version 0
// cannot express.
type UnsupportedError struct {
	Path   string // in the target, relative to its top
	Reason string // what about it, to stand after the path
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("tbdiff version 0 cannot express %q: %s", e.Path, e.Reason)
}

// checkEntry refuses what a stream cannot express, whether it would have to or not:
// an entry may be the same in origin and target today and differ tomorrow.
func checkEntry(e *tree.Entry) error {
	refuse := func(format string, args ...any) error {
		return &UnsupportedError{Path: e.Path, Reason: fmt.Sprintf(format, args...)}
	}
	switch {
	case e.Kind() == tree.KindSocket:
		return refuse("it is a socket; end the program that uses it and remove it")
	case e.Size > maxFile:
		return refuse("it has %d bytes, and a file must be smaller than 4 GiB", e.Size)
	case e.Rdev > maxRdev:
		return refuse("its device number %#x needs more than 32 bits", e.Rdev)
	case e.Kind() == tree.KindSymlink && len(e.Xattrs) > 0:
		// The format could, and the C deployer would do it. Ours changes nothing
		// that a symbolic link's name stands for.
		return refuse("it is a symbolic link with attributes (%s)", e.Xattrs[0].Name)
	case e.Kind() == tree.KindDirectory && strings.Count(e.Path, "/") >= maxDepth:
		return refuse("it is nested more than %d directories deep", maxDepth)
	}
	names, values := 0, 0
	for _, x := range e.Xattrs {
		names += len(x.Name) + 1
		values += len(x.Value)
	}
	if names > maxXattrNames || values > maxXattrValues {
		return refuse("its attributes have %d bytes of names and %d of values, and at most %d and %d can be carried",
			names, values, maxXattrNames, maxXattrValues)
	}
	return nil
}
