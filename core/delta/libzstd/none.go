//go:build !cgo || !libzstd

package libzstd

import "errors"

// Available says that the program has the library.
const Available = false

// Pack is not there.
func Pack(content, source []byte, level int) ([]byte, error) {
	return nil, errors.New("this program was built without libzstd")
}
