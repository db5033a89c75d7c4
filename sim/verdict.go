package sim

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A Verdict says how a run ended.
type Verdict string

// The verdicts, from good to worse. Only Pass is a success.
const (
	Pass     Verdict = "pass"     // the test passed
	Safety   Verdict = "safety"   // a check of the test failed
	Liveness Verdict = "liveness" // nothing wrong was seen, but the awaited did not happen within a limit of virtual time
	Deadlock Verdict = "deadlock" // every goroutine waits for another
	Spin     Verdict = "spin"     // a goroutine runs without ever yielding
	Crash    Verdict = "crash"    // a panic, a fatal error of the runtime, an exit or a signal
	Race     Verdict = "race"     // the race detector, or a map's own check, saw a data race
	Stuck    Verdict = "stuck"    // the process waits for something outside of the simulated world
	Diverged Verdict = "diverged" // the same seed did not give the same run twice
	Broken   Verdict = "broken"   // a whole package's: it does not build, or its tests cannot be listed, so that there was no run
)

// Verdicts lists them all in order.
func Verdicts() []Verdict {
	return []Verdict{Pass, Safety, Liveness, Deadlock, Spin, Crash, Race, Stuck, Diverged, Broken}
}

// DefaultLiveness matches messages of failed checks that mean "did not happen
// in time" rather than "went wrong", in the words of the usual lab harnesses. A
// check that fails with such a message gives Liveness, not Safety.
const DefaultLiveness = `(?i)failed to reach agreement|no agreement|expected one leader, got none|no leader|too long|took longer|timed? ?out|` +
	`deadline exceeded|not committed in time|did not (commit|complete|finish|converge|elect|arrive)|lost agreement|never (committed|elected|finished)|too slow|in vain|not done within|by \d+ servers within|are not served`

var (
	dataRace = regexp.MustCompile(`(?m)^WARNING: DATA RACE|^fatal error: concurrent map`)
	crashRE  = regexp.MustCompile(`(?m)^(panic: .*|fatal error: .*|SIG[A-Z]+: .*|unexpected fault .*)`)
	checkRE  = regexp.MustCompile(`(?m)(?:^\s|    )\s*[\w.-]+\.go:\d+: .*`) // also after output without a newline
	failRE   = regexp.MustCompile(`(?m)^\s*--- FAIL: .*`)
	assertRE = regexp.MustCompile(`^.*\n\s+Error Trace:(?:.*\n)+?\s+Error:\s+((?:.*\n)+?)\s+(?:Test|Messages):\s`)
	placeRE  = regexp.MustCompile(`^[\w.-]+\.go:\d+: `)

	// Stacks, as the runtime prints them.
	goroutineRE = regexp.MustCompile(`(?m)^goroutine \d+ .*\[running.*\]:$`)
	syscallRE   = regexp.MustCompile(`(?m)^goroutine \d+ .*\[syscall.*\]:$`)
	mutexRE     = regexp.MustCompile(`(?m)^goroutine \d+ .*\[sync\.(?:RW)?Mutex\.R?Lock, (\d+) minutes.*\]:$`)
	ioWaitRE    = regexp.MustCompile(`(?m)^goroutine \d+ .*\[IO wait.*\]:$`)
	plumbingRE  = regexp.MustCompile(`^(runtime\.|sync|syscall\.|os\.|internal/|testing\.|panic$)`)
	frameRE     = regexp.MustCompile(`(?m)^([\w./*()\[\]-]+)\(.*\)\n\t(.*?:\d+)`)
)

// ending describes a finished process apart from its output.
type ending struct {
	code     int  // exit code, -1 if a signal ended it
	limit    bool // the virtual time limit was reached
	deadlock bool // the scheduler found every goroutine asleep
	spin     bool // the watchdog ended it
	stuck    bool
	excess   bool   // the engine ended it, since it took more than it may
	detector bool   // it was built with the race detector, and reports of races are its own
	note     string // said by the engine, for detail
}

// failedCode is the exit code of a test binary with a failed test. The runtime
// ends a panicking binary with 2, and the race detector ends a racy one with
// 66.
const failedCode = 1

// judge classifies a run and returns the most informative line of the output.
func judge(end ending, out []byte, liveness *regexp.Regexp) (Verdict, string) {
	died := end.code != failedCode
	switch {
	case end.spin:
		return Spin, "spins without yielding" + suffix(end.note)
	case end.stuck:
		return Stuck, end.note
	case end.excess:
		return Crash, end.note
	case end.code == 0: // whatever the test may have printed
		return Pass, ""
	case (died || end.detector) && hasRace(out):
		return Race, raceDetail(out)
	case end.limit:
		if held := mutexWait(out); held != "" {
			return Deadlock, held
		}
		return Liveness, "virtual time limit reached" + suffix(end.note)
	case end.deadlock || died && bytes.Contains(out, []byte("all goroutines are asleep - deadlock!")):
		return Deadlock, "all goroutines are asleep" + outsiders(out)
	}
	if m := crashRE.FindIndex(out); died && m != nil {
		return panicked(trimLine(out[m[0]:m[1]]), out[m[1]:])
	}
	if !failRE.Match(out) {
		return Crash, "exit without a result" + suffix(end.note)
	}
	detail := checkDetail(out)
	if liveness != nil && liveness.MatchString(detail) {
		return Liveness, detail
	}
	return Safety, detail
}

// panicked classifies a crash by its first line and the stack behind the line.
func panicked(line string, dump []byte) (Verdict, string) {
	switch {
	case strings.HasPrefix(line, "panic: test timed out"):
		return Liveness, line
	case strings.HasPrefix(line, "panic: deadlock: "): // of a testing/synctest bubble
		return Deadlock, line
	}
	if goroutineRE.Match(dump) {
		line += suffix(place(runningStack(dump)))
	}
	return Crash, line
}

// mutexWait searches the stacks of a run at its limit of virtual time for a
// goroutine that has waited for a mutex for minutes. Only in a deadlock is a
// mutex held for so long. Other goroutines, woken now and then, need not notice
// the deadlock.
func mutexWait(dump []byte) string {
	match := mutexRE.FindSubmatchIndex(dump)
	if match == nil {
		return ""
	}
	stack, _, _ := bytes.Cut(dump[match[0]:], []byte("\n\n"))
	return fmt.Sprintf("a goroutine waits for a mutex for %s minutes%s", dump[match[2]:match[3]], suffix(place(string(stack))))
}

// outsiders counts the goroutines of a deadlock that wait for a descriptor.
// Something outside could have ended the wait.
func outsiders(dump []byte) string {
	if n := len(ioWaitRE.FindAll(dump, -1)); n > 0 {
		return fmt.Sprintf(", %d of them for input or output", n)
	}
	return ""
}

// runningStack cuts the running goroutine's stack out of a dump, or that of a goroutine in
// a system call.
func runningStack(dump []byte) string {
	match := goroutineRE.FindIndex(dump)
	if match == nil {
		match = syscallRE.FindIndex(dump)
	}
	if match == nil {
		return string(dump)
	}
	stack, _, _ := bytes.Cut(dump[match[0]:], []byte("\n\n"))
	return string(stack)
}

// place names the innermost frame outside of the runtime and of the framework
// of tests, or is empty.
func place(stack string) string {
	for _, m := range frameRE.FindAllStringSubmatch(stack, -1) {
		if !plumbingRE.MatchString(m[1]) {
			return "in " + m[1] + " " + m[2][strings.LastIndexByte(m[2], '/')+1:]
		}
	}
	return ""
}

func suffix(note string) string {
	if note == "" {
		return ""
	}
	return ": " + note
}

// hasRace looks for a report of a race. A cheap search comes first, because
// most output has no report and may be long.
func hasRace(out []byte) bool {
	return (bytes.Contains(out, []byte("DATA RACE")) || bytes.Contains(out, []byte("concurrent map"))) && dataRace.Match(out)
}

func raceDetail(out []byte) string {
	if i := bytes.Index(out, []byte("WARNING: DATA RACE")); i >= 0 {
		for _, line := range bytes.Split(out[i:], []byte("\n")) {
			if bytes.HasPrefix(line, []byte("  ")) && bytes.Contains(line, []byte("(")) {
				return "data race in " + trimLine(line)
			}
		}
	}
	return trimLine(crashRE.Find(out))
}

// checkDetail finds the failed check. The check is the last message before the
// first FAIL line with a place in a test file, or else the FAIL line. Some
// harnesses log in the end how to repeat the test, and checkDetail skips such
// lines.
func checkDetail(out []byte) string {
	fail := failRE.FindIndex(out)
	before := checkRE.FindAllIndex(out[:fail[0]], -1)
	before = slices.DeleteFunc(before, func(match []int) bool {
		return bytes.Contains(out[match[0]:match[1]], []byte("repeat with: "))
	})
	if i := lastAssertion(out, before); i >= 0 {
		return message(out[before[i][0]:])
	}
	if after := checkRE.FindIndex(out[fail[1]:]); after != nil {
		return message(out[fail[1]+after[0]:])
	}
	return trimLine(out[fail[0]:fail[1]])
}

// lastAssertion is the index of the message that tells the failure. An assertion library
// marks its messages. Otherwise the last message counts, though a test may log something
// after the failed check.
func lastAssertion(out []byte, messages [][]int) int {
	for i := len(messages) - 1; i >= 0; i-- {
		_, rest, _ := bytes.Cut(out[messages[i][0]:], []byte("\n"))
		if bytes.HasPrefix(bytes.TrimSpace(rest), []byte("Error Trace:")) {
			return i
		}
	}
	return len(messages) - 1
}

// message returns the first line of out. If the first line has only a place,
// the message is on the next lines. Assertion libraries put the message behind
// the word Error.
func message(out []byte) string {
	out = bytes.TrimSpace(out)
	line := trimLine(out)
	if !strings.HasSuffix(line, ":") {
		return line
	}
	if m := assertRE.FindSubmatch(out); m != nil {
		return trimLine(fmt.Appendf(nil, "%s %s", line, bytes.Join(bytes.Fields(m[1]), []byte(" "))))
	}
	_, rest, _ := bytes.Cut(out, []byte("\n"))
	if next := trimLine(rest); !strings.HasPrefix(next, "---") {
		line += " " + next
	}
	return line
}

func trimLine(b []byte) string {
	first, _, _ := bytes.Cut(bytes.TrimSpace(b), []byte("\n"))
	s := strings.ToValidUTF8(string(bytes.TrimSpace(first)), "\ufffd")
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "..."
	}
	return s
}
