//go:build !unix && !wasip1

package cluster

import (
	"os"
	"path/filepath"
)

// lockDir makes no lock on this system. Only the data files of running replicas are
// locked.
func lockDir(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
}
