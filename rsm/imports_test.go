//go:build !wasip1

package rsm_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// dependencies returns the packages of this module that a package imports,
// directly or not.
func dependencies(t *testing.T, goTool, pkg string) []string {
	t.Helper()
	out, err := exec.Command(goTool, "list", "-deps", pkg).Output()
	require.NoError(t, err)
	var own []string
	for _, dep := range strings.Fields(string(out)) {
		if strings.HasPrefix(dep, "raftlab/") {
			own = append(own, dep)
		}
	}
	return own
}

// Package rsm runs on any log. It reaches neither a lab's Raft, nor the lab's
// network and encoder.
func TestImports(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("there is no go command here")
	}
	own := dependencies(t, goTool, "raftlab/rsm")
	require.ElementsMatch(t, []string{"raftlab/internal/admission", "raftlab/internal/msgpack", "raftlab/rsm"}, own)
	// The check is seen to say no.
	require.Subset(t, dependencies(t, goTool, "raftlab/rsm/labraft"), []string{"raftlab/raft", "raftlab/labrpc"})
}
