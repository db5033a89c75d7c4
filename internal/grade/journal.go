package grade

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// journalName is the file of the output directory with the result of each run. The
// journal only grows, so a crash of the grader costs the runs under way.
const journalName = "journal.jsonl"

// ErrJournal is returned for an output directory with results of another grading.
var ErrJournal = errors.New("grade: the output directory has results already")

// A run is the result of one run of a test, as a line of the journal.
type run struct {
	// Key identifies the submission's content, the harness and the table.
	Key     string   `json:"key"`
	Test    string   `json:"test"`
	Seed    uint64   `json:"seed"`
	State   State    `json:"state"`
	Kind    string   `json:"kind,omitempty"` // verdict of package sim
	Detail  string   `json:"detail,omitempty"`
	Notes   []string `json:"notes,omitempty"`
	CPU     float64  `json:"cpu_s"`
	Virtual float64  `json:"virtual_s"`
	Hash    string   `json:"hash"` // of the output
	Excerpt string   `json:"excerpt,omitempty"`
	Picture bool     `json:"picture,omitempty"` // there is one in the output directory
	Long    bool     `json:"long,omitempty"`    // with the table's whole limits, after a run with short ones
	Endless bool     `json:"endless,omitempty"` // did not end by itself
}

type runID struct {
	key, test string
	seed      uint64
	long      bool
}

func (r run) id() runID { return runID{r.Key, r.Test, r.Seed, r.Long} }

type journal struct {
	mu   sync.Mutex
	file *os.File
	runs map[runID]run
}

// openJournal opens the journal of an output directory. With resume, the runs in the
// journal count. A last line without an end is cut off.
func openJournal(dir string, resume bool) (*journal, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	name := filepath.Join(dir, journalName)
	j := &journal{runs: make(map[runID]run)}
	if _, err := os.Stat(name); err == nil && !resume {
		return nil, fmt.Errorf("%w: %s; continue with --resume, or choose another directory", ErrJournal, name)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	j.file = f
	if err := j.read(); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return j, nil
}

func (j *journal) read() error {
	r := bufio.NewReader(j.file)
	var end int64
	for n := 1; ; n++ {
		line, err := r.ReadBytes('\n')
		if err != nil { // at the end, perhaps after a part of a line
			break
		}
		var one run
		if err := json.Unmarshal(line, &one); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		j.runs[one.id()] = one
		end += int64(len(line))
	}
	if err := j.file.Truncate(end); err != nil {
		return err
	}
	_, err := j.file.Seek(end, 0)
	return err
}

func (j *journal) find(id runID) (run, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	r, ok := j.runs[id]
	return r, ok
}

func (j *journal) add(r run) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.runs[r.id()] = r
	_, err = j.file.Write(append(line, '\n'))
	return err
}

// sync makes the runs so far durable.
func (j *journal) sync() error { return j.file.Sync() }

func (j *journal) close() error { return errors.Join(j.sync(), j.file.Close()) }
