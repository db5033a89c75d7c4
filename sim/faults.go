package sim

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A Fault is a fault of the world's own network (Network is NetNetwork), or a
// message that a simulated network inside the test loses, duplicates or
// reorders. Package labrpc names faults in this way. Other networks may take
// part through the protocol of Faults.
type Fault struct {
	Network uint64 `json:"net"`    // the network's seed
	Link    int    `json:"link"`   // in the order in which ends were made
	Number  int    `json:"number"` // of the call on that link
	Reply   bool   `json:"reply,omitempty"`
	What    string `json:"what,omitempty"` // what happens, and to which method; for people
}

// Faults records and edits the faults of the test's own network. The variable
// RAFTLAB_FAULTS names a directory for the run. The run writes each fault to
// the file "met" there, and leaves out the faults listed in the file "calm". A
// line holds the network's seed, the link, the number, and "request" or
// "reply".
type Faults struct {
	Record bool    `json:"record,omitempty"`
	Calm   []Fault `json:"calm,omitempty"` // only if Record
}

const faultsEnv = "RAFTLAB_FAULTS"

// faultsDir is the directory of the fault files, below the run's temporary
// directory.
func faultsDir(tmp string) string { return tmp + "/faults" }

// prepare makes the directory for a run.
func (f Faults) prepare(tmp string) error {
	if !f.Record {
		return nil
	}
	if err := os.Mkdir(faultsDir(tmp), 0o700); err != nil {
		return err
	}
	var list bytes.Buffer
	for _, c := range f.Calm {
		if c.Network == NetNetwork {
			continue // in the page
		}
		fmt.Fprintf(&list, "%d %d %d %s\n", c.Network, c.Link, c.Number, direction(c.Reply))
	}
	return os.WriteFile(filepath.Join(faultsDir(tmp), "calm"), list.Bytes(), 0o600)
}

func direction(reply bool) string {
	if reply {
		return "reply"
	}
	return "request"
}

// met reads the recorded faults of a run. A run without a network has recorded
// none.
func (f Faults) met(tmp string) ([]Fault, error) {
	if !f.Record {
		return nil, nil
	}
	data, err := os.ReadFile(filepath.Join(faultsDir(tmp), "met"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var faults []Fault
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		var one Fault
		var way string
		if _, err := fmt.Sscan(lines.Text(), &one.Network, &one.Link, &one.Number, &way); err != nil {
			return nil, fmt.Errorf("sim: recorded fault %q: %w", lines.Text(), err)
		}
		one.Reply = way == direction(true)
		_, one.What, _ = strings.Cut(lines.Text(), way+" ")
		faults = append(faults, one)
	}
	return faults, nil
}
