//go:build !unix && !wasip1

package cluster

import (
	"os"
	"path/filepath"
)

// lockDir makes no lock here: that each data file is locked while its replica
// runs has to do.
func lockDir(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
}
