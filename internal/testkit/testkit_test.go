package testkit_test

import (
	"testing"
	"time"

	"raftlab/internal/testkit"
)

func TestRunIsInVirtualTime(t *testing.T) {
	testkit.VirtualOnly(t)
	start := time.Now()
	testkit.Run(t, func(t *testing.T) { time.Sleep(100 * time.Hour) })
	if took := time.Since(start); took > time.Minute {
		t.Fatalf("100 virtual hours took %v", took)
	}
}

func TestSeedStaysTheSame(t *testing.T) {
	seed := testkit.Seed(t)
	testkit.Run(t, func(t *testing.T) {
		if again := testkit.Seed(t); again != seed {
			t.Fatalf("seed %d, then %d", seed, again)
		}
	})
	if a, b := testkit.Rand(t).Uint64(), testkit.Rand(t).Uint64(); a != b {
		t.Fatalf("one seed draws %d and %d", a, b)
	}
}
