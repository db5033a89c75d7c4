//go:build !wasip1

package member_test

import (
	"testing"

	"raftlab/internal/testkit"
)

func TestMain(m *testing.M) {
	testkit.AtOnce(4)
	m.Run()
}
