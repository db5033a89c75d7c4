//go:build !unix

package wal

import (
	"errors"
	"fmt"
)

// openDirectory fails where files cannot be locked.
func openDirectory(path string, _ bool) (Directory, error) {
	return nil, fmt.Errorf("%s: a log needs file locks: %w", path, errors.ErrUnsupported)
}
