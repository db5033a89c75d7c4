package labrun

import (
	"os"
	"testing"
)

// Run runs a test of a lab suite in this process, because wasip1 has no processes.
func Run(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	inProcess(t, body)
}

// Main runs the tests of a package.
func Main(m *testing.M) { os.Exit(m.Run()) }
