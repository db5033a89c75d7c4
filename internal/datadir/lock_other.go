//go:build !unix

package datadir

import (
	"errors"
	"fmt"
	"os"
)

// inUse reports false. No member runs where files cannot be locked.
func inUse(string) (bool, error) { return false, nil }

func lockDirectory(dir string) (*os.File, error) {
	return nil, fmt.Errorf("%s: a data directory needs file locks: %w", dir, errors.ErrUnsupported)
}
