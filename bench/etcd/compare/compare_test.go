package compare

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"math/rand/v2"
)

// difference is the first one between the answers to a sequence.
type difference struct {
	requests   []request
	etcd, ours string // the answers to the last of the requests
}

func (d *difference) String() string {
	var b strings.Builder
	for _, r := range d.requests {
		fmt.Fprintf(&b, "  %s\n", r)
	}
	fmt.Fprintf(&b, "etcd:    %s\nraftlab: %s", d.etcd, d.ours)
	return b.String()
}

// kind is the method of the last request with the texts of the answers, without numbers.
// Differences of a kind have the same cause as a rule.
func (d *difference) kind() string {
	method, _, _ := strings.Cut(d.requests[len(d.requests)-1].String(), "{")
	return numbers.ReplaceAllString(method+" "+shortKind(d.etcd)+" "+shortKind(d.ours), "")
}

func shortKind(answer string) string {
	if strings.HasPrefix(answer, "error") {
		return answer
	}
	if len(answer) > 3 && answer[3] == ' ' {
		return answer[:3]
	}
	return "message"
}

var numbers = regexp.MustCompile(`[0-9]+|"[^"]*"`)

// run sends a sequence to both servers until the answers differ.
func (p *pair) run(sequence []request) *difference {
	p.reset()
	p.sequences++
	for i, r := range sequence {
		p.requests++
		answer := make(chan string)
		go func() { answer <- r.send(p.etcd) }()
		ours := r.send(p.ours)
		etcd := <-answer
		if etcd != ours {
			return &difference{sequence[:i+1], etcd, ours}
		}
	}
	return nil
}

// generator makes a sequence of requests.
type generator func(r *rand.Rand) []request

// setting returns a number from the environment.
func setting(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// compare compares sequences, and fails with the shortest ones that differ, one of each
// kind.
func compare(t *testing.T, p *pair, sequences int, generate generator) {
	first, sequences := setting("RAFTLAB_COMPARE_SEED", 1), setting("RAFTLAB_COMPARE", sequences)
	kinds := map[string]bool{}
	began, requests := p.sequences, p.requests
	for seed := first; seed < first+sequences && len(kinds) < 8; seed++ {
		d := p.run(generate(rand.New(rand.NewPCG(uint64(seed), 0))))
		if d == nil || kinds[d.kind()] {
			continue
		}
		kinds[d.kind()] = true
		if p.run(d.requests) == nil || p.run(d.requests) == nil { // a time that passed between two requests
			t.Logf("seed %d, in some runs:\n%v", seed, d)
			continue
		}
		d = p.shrink(d)
		kinds[d.kind()] = true
		t.Errorf("seed %d:\n%v", seed, d)
	}
	t.Logf("%d sequences and %d requests", p.sequences-began, p.requests-requests)
}
