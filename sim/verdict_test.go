package sim_test

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/sim"
)

// The words of this project's suites about time mean Liveness, and those about values do not.
func TestDefaultLiveness(t *testing.T) {
	late := regexp.MustCompile(sim.DefaultLiveness)
	for message, want := range map[string]bool{
		"waited 2s in vain for a leader":                                    true,
		`an operation on key "k": not done within 30s`:                      true,
		"index 4 was applied by 2 servers within 10s; want 3":               true,
		"keys of live groups are not served 30s after every group is up":    true,
		`key "k" is "", want "v"`:                                           false,
		"server 2 applied 5 at index 2, where 4 was applied before":         false,
		"servers 1 and 0 both sent AppendEntries or InstallSnapshot in one": false,
	} {
		require.Equal(t, want, late.MatchString(message), message)
	}
}
