package labrun

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// groupHeader begins a group of equal stacks of package testkit.
var groupHeader = regexp.MustCompile(`^(\d+) goroutine\(s\) \[([^,\]]+)`)

// waitWords says in words what a goroutine waits for, by the state in its stack.
var waitWords = []struct{ state, words string }{
	{"sync.Mutex.Lock", "a lock"},
	{"sync.RWMutex.Lock", "a lock"},
	{"sync.RWMutex.RLock", "a lock (for reading)"},
	{"chan send", "somebody who receives from a channel"},
	{"chan receive", "somebody who sends to a channel"},
	{"select", "one of several channels"},
	{"sync.Cond.Wait", "a condition variable (Signal or Broadcast)"},
	{"sync.WaitGroup.Wait", "other goroutines to end"},
	{"sleep", "the end of a sleep"},
}

const (
	maxWaits  = 12 // groups of goroutines
	maxFrames = 3  // of a stack
)

// waits describes the goroutines of the program that wait, from the stacks of a test that
// cannot end. Goroutines at a channel or a WaitGroup come first, the rarest at the top,
// because the holder of a lock is usually among them. Goroutines that wait for a lock
// follow. Sleepers and waiting appliers are last, because most of them wait normally.
func waits(stacks string) []string {
	type group struct {
		text        string
		rank, count int
	}
	var all []group
	for _, stack := range strings.Split(stacks, "\n\n") {
		lines := strings.Split(strings.TrimSpace(stack), "\n")
		m := groupHeader.FindStringSubmatch(lines[0])
		where := frames(lines[1:])
		if m == nil || where == "" {
			continue
		}
		who := m[1] + " goroutines wait"
		if m[1] == "1" {
			who = "A goroutine waits"
		}
		for _, w := range waitWords {
			if strings.HasPrefix(m[2], w.state) {
				count, _ := strconv.Atoi(m[1])
				all = append(all, group{fmt.Sprintf("%s for %s in %s", who, w.words, where), rank(w.state), count})
				break
			}
		}
	}
	slices.SortStableFunc(all, func(a, b group) int { return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.count, b.count)) })
	var texts []string
	for _, g := range all[:min(len(all), maxWaits)] {
		texts = append(texts, g.text)
	}
	return texts
}

// rank orders states by what they say about a deadlock.
func rank(state string) int {
	switch state {
	case "sync.Mutex.Lock", "sync.RWMutex.Lock", "sync.RWMutex.RLock":
		return 1
	case "sync.Cond.Wait", "sleep":
		return 2
	}
	return 0
}

// harness are the packages whose frames say nothing about the program under test.
var harness = regexp.MustCompile(`^(runtime|sync|time|testing|reflect|internal/|created by |raftlab/labrpc|raftlab/labgob|raftlab/internal/(testkit|labtest|shardlab)\b|raftlab/internal/labrun\.Main|main\.main|\S+_test\.TestMain)`)

// frames describes the innermost functions of the program in a stack.
func frames(lines []string) string {
	var found []string
	for i := 0; i+1 < len(lines) && len(found) < maxFrames; i++ {
		place := strings.TrimPrefix(lines[i+1], "\t")
		if place == lines[i+1] || harness.MatchString(lines[i]) {
			continue
		}
		place, _, _ = strings.Cut(place, " ")
		found = append(found, fmt.Sprintf("%s (%s)", path.Base(lines[i]), path.Base(place)))
	}
	return strings.Join(found, ", called by ")
}
