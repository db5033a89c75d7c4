package testkit_test

import (
	"net"
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

func TestRepeatLineHasTags(t *testing.T) {
	before := testkit.Tags
	defer func() { testkit.Tags = before }()
	t.Setenv("RAFTLAB_SIM_REPEAT", "")
	testkit.Tags = "blue"
	if got, want := testkit.RepeatLine("TestX", 7, false), "repeat with: go test -tags=blue ./internal/testkit -run '^TestX$' -seed=7"; got != want {
		t.Errorf("%q; want %q", got, want)
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

// Addresses differ, and a listener may take each of them again and again.
func TestFreeAddress(t *testing.T) {
	first, second := testkit.FreeAddress(t), testkit.FreeAddress(t)
	if first == second {
		t.Fatalf("%s twice", first)
	}
	for _, address := range []string{first, second, first} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if port := l.Addr().(*net.TCPAddr).Port; port >= 32768 {
			t.Errorf("port %d is one for outgoing connections", port)
		}
		l.Close()
	}
}
