package labrpc

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// FaultsDir is the environment variable through which a search such as raftlab
// sim --shrink records and edits the faults of a run. The variable names a
// directory. The network writes each message with a fault (lost, duplicated or
// reordered) to the file "met" there. A message listed in the file "calm" is
// delivered as on a network without such faults. In both files a line is a
// message, with the network's seed, the link, the number of the call on the
// link, and "request" or "reply". A line in "met" also lists the faults. Delays
// within MaxDelay are not recorded, and a Scheduler's decisions are not edited.
const FaultsDir = "RAFTLAB_FAULTS"

// An editor records the faults of a process and takes out those listed.
type editor struct {
	calm map[editKey]bool
	mu   sync.Mutex
	met  *os.File
}

type editKey struct {
	fate  fate
	reply bool
}

var openEditor = sync.OnceValues(func() (*editor, error) {
	dir := os.Getenv(FaultsDir)
	if dir == "" {
		return nil, nil
	}
	e, err := newEditor(dir)
	if err != nil {
		return nil, fmt.Errorf("labrpc: faults are neither recorded nor edited: %s=%s: %w", FaultsDir, dir, err)
	}
	return e, nil
})

// CheckFaultsDir returns an error if the directory named in [FaultsDir] cannot be
// used. A network prints the error at its first message and runs without
// editing.
func CheckFaultsDir() error {
	_, err := openEditor()
	return err
}

var theEditor = sync.OnceValue(func() *editor {
	e, err := openEditor()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return e
})

func newEditor(dir string) (*editor, error) {
	e := &editor{calm: map[editKey]bool{}}
	var err error
	if e.met, err = os.OpenFile(filepath.Join(dir, "met"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
		return nil, err
	}
	if err := e.readCalm(filepath.Join(dir, "calm")); err != nil {
		e.met.Close()
		return nil, err
	}
	return e, nil
}

// readCalm reads the list of messages that are to meet no faults.
func (e *editor) readCalm(path string) error {
	list, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil
	} else if err != nil {
		return err
	}
	defer list.Close()
	lines := bufio.NewScanner(list)
	for lines.Scan() {
		var k editKey
		var what string
		if _, err := fmt.Sscan(lines.Text(), &k.fate.seed, &k.fate.link, &k.fate.number, &what); err != nil || what != "request" && what != "reply" {
			return fmt.Errorf("calm: line %q is not a seed, a link, a number and request or reply", lines.Text())
		}
		k.reply = what == "reply"
		e.calm[k] = true
	}
	return lines.Err()
}

// edit takes the faults out of a route, or records them.
func (e *editor) edit(r route, f fate, m Message, late bool, plain route) route {
	if !r.lost && !r.again && !late {
		return r
	}
	if e.calm[editKey{f, m.Reply}] {
		return plain
	}
	direction := "request"
	if m.Reply {
		direction = "reply"
	}
	what := ""
	for _, w := range []struct {
		is   bool
		name string
	}{{r.lost, "lost"}, {r.again, "twice"}, {late, "late"}} {
		if w.is {
			what += " " + w.name
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	fmt.Fprintf(e.met, "%d %d %d %s%s %s\n", f.seed, f.link, f.number, direction, what, m.Method)
	return r
}
