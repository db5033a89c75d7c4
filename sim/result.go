package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// A Result is the outcome of one case of a sweep, as one line of JSON. A
// failure was replayed before its report.
type Result struct {
	Package string        `json:"package"`
	Test    string        `json:"test"`
	Seed    uint64        `json:"seed"`
	Engine  string        `json:"engine"`
	Race    bool          `json:"race,omitempty"`
	Explore Explore       `json:"explore,omitzero"`
	Net     Net           `json:"net,omitzero"`
	Verdict Verdict       `json:"verdict"`
	Detail  string        `json:"detail,omitempty"`
	Hash    string        `json:"hash"`
	Virtual time.Duration `json:"virtual_ns"`
	CPU     time.Duration `json:"cpu_ns"`
	Wall    time.Duration `json:"wall_ns"`
	Replays int           `json:"replays,omitempty"` // replays that gave the same run
	Cause   string        `json:"cause,omitempty"`   // why the output of a failure differs between replays, although the run does not
	Command string        `json:"replay,omitempty"`  // repeats a failure
}

// Failed reports whether the verdict is anything but Pass.
func (r Result) Failed() bool { return r.Verdict != Pass }

// key names the case of a result.
func (r Result) key() string {
	return fmt.Sprintf("%s %s %d %s %v %s %s", r.Package, r.Test, r.Seed, r.Engine, r.Race, r.Explore.key(), r.Net)
}

// WriteResult writes r as one line of JSON.
func WriteResult(w io.Writer, r Result) error { return json.NewEncoder(w).Encode(r) }

// ReadResults calls f for each line of JSON. The error for a wrong line gives
// the number of the line.
func ReadResults(r io.Reader, f func(Result)) error {
	dec := json.NewDecoder(r)
	for n := 1; ; n++ {
		var res Result
		err := dec.Decode(&res)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && (res.Test == "" && res.Verdict != Broken || res.Verdict == "") {
			err = errors.New("the result names no test or no verdict")
		}
		if err != nil {
			return fmt.Errorf("%w: result %d: %v", ErrInvalid, n, err)
		}
		f(res)
	}
}
