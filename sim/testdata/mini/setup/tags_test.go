//go:build blue && green

package setup

import "testing"

// TestTags fails where two build tags are set.
func TestTags(t *testing.T) { t.Error("blue and green") }
