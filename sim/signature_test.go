package sim_test

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/sim"
)

func signatureOf(v sim.Verdict, detail string) string {
	return sim.Outcome{Verdict: v, Detail: detail}.Signature()
}

// TestOneBugIsOneKind expects one signature for the messages of one failed
// check, whatever random parts the messages have.
func TestOneBugIsOneKind(t *testing.T) {
	rng := testkit.Rand(t)
	letters := func(n int, alphabet string) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = alphabet[rng.IntN(len(alphabet))]
		}
		return string(b)
	}
	raw := func(n int) []byte { return binary.BigEndian.AppendUint64(nil, rng.Uint64())[:n] }
	const mixed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	for name, message := range map[string]func() string{
		"number":   func() string { return fmt.Sprintf("a_test.go:7: %d servers at term %d", rng.IntN(9), rng.IntN(1e6)) },
		"duration": func() string { return fmt.Sprintf("a_test.go:7: after %d.%dms", rng.IntN(900), rng.IntN(90)) },
		"hex":      func() string { return fmt.Sprintf("a_test.go:7: digest %x of the log", append(raw(8), raw(8)...)) },
		"uuid":     func() string { return fmt.Sprintf("a_test.go:7: client %x-%x-%x left", raw(4), raw(2), raw(6)) },
		"base64": func() string {
			return "a_test.go:7: got " + base64.StdEncoding.EncodeToString(append(raw(8), raw(8)...)) + " for key 3"
		},
		"harness string":       func() string { return "a_test.go:7: wrong value " + letters(20, mixed+"-_") + " of server" },
		"quoted":               func() string { return fmt.Sprintf("a_test.go:7: got %q", letters(1+rng.IntN(9), "abcx \"")) },
		"beside an empty text": func() string { return fmt.Sprintf("a_test.go:7: got \"\", want %q", letters(1+rng.IntN(9), "abcx \"")) },
		"back quoted":          func() string { return "a_test.go:7: got `" + letters(5, "abcxyz") + "`" },
		"list":                 func() string { return fmt.Sprint("a_test.go:7: commands ", rng.Perm(2+rng.IntN(6))) },
		"cut quote":            func() string { return `a_test.go:7: got "` + letters(30, mixed) + "..." },
		"map": func() string {
			return fmt.Sprintf("a_test.go:7: state is %v", map[string]int{letters(3, "abc"): rng.IntN(9), letters(2, "xyz"): 1})
		},
		"structure": func() string {
			return fmt.Sprintf("a_test.go:7: got %+v of server", struct {
				Name string
				Log  []string
			}{letters(4, "abc"), []string{letters(3, "xyz"), letters(3, "xyz")}})
		},
		"values of an assertion": func() string {
			return fmt.Sprintf("a_test.go:7: Not equal: expected: %s actual : %s", letters(5, "abc"), letters(4, "xyz"))
		},
		"panic with a place": func() string { return fmt.Sprintf("panic: no client %d: in mine.(*T).do a.go:17", rng.IntN(100)) },
		"panic":              func() string { return fmt.Sprintf("panic: no client %d in %q", rng.IntN(100), letters(3, "abc")) },
	} {
		first := signatureOf(sim.Safety, message())
		for range 200 {
			m := message()
			require.Equal(t, first, signatureOf(sim.Safety, m), "%s: %s", name, m)
		}
	}
}

// TestLettersMostlyMerge draws words of one case. A rare word can look like a
// random one, so some words stay.
func TestLettersMostlyMerge(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	kinds := map[string]bool{}
	for range 500 {
		b := make([]byte, 16)
		for i := range b {
			b[i] = byte('a' + rng.IntN(26))
		}
		kinds[signatureOf(sim.Safety, fmt.Sprintf("a_test.go:7: lost %s in transit", b))] = true
	}
	require.Less(t, len(kinds), 125)
}

// TestBugsAreTwoKinds expects different failures to have different signatures.
func TestBugsAreTwoKinds(t *testing.T) {
	for _, pair := range [][2]string{
		{"a_test.go:7: no leader", "a_test.go:8: no leader"},
		{"a_test.go:7: no leader", "a_test.go:7: two leaders"},
		{"a_test.go:7: lost AppendEntries", "a_test.go:7: lost RequestVote"},
		{`a_test.go:7: got ""`, `a_test.go:7: got "x"`},
		{"panic: index out of range [3] with length 2", "panic: assignment to entry in nil map"},
		{"panic: no client 7: in mine.(*T).do a.go:17", "panic: no client 7: in mine.(*T).do a.go:18"},
		{"a_test.go:7: [log] is missing in state", "a_test.go:7: [log] is missing in snapshot"},
		{"a_test.go:7: snapshot is missing", "a_test.go:7: snapshot is older"},
	} {
		require.NotEqual(t, signatureOf(sim.Safety, pair[0]), signatureOf(sim.Safety, pair[1]))
	}
	require.NotEqual(t, signatureOf(sim.Safety, "a_test.go:7: x"), signatureOf(sim.Crash, "a_test.go:7: x"))
}
