package release

import (
	"context"
	"errors"
)

// arm64Trees gives two trees with kernels for arm64.
func arm64Trees(context.Context, string) ([]string, error) {
	return nil, errors.New("the lab has no kernels for arm64 yet")
}

// arm64Busybox gives the static busybox for arm64.
func arm64Busybox(context.Context, *Builder) (string, error) {
	return "", errors.New("the lab has no busybox for arm64 yet")
}
