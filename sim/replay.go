package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"
)

// A Replay is a failure in a file. A replay can run again, and can stay beside
// the code as a regression test. The outcome of its Case then tells by Hash
// whether unchanged code gives the same run, and by Signature whether changed
// code still has the failure.
type Replay struct {
	Package string   `json:"package"`
	Case    Case     `json:"case"`
	Engine  string   `json:"engine"`
	Race    bool     `json:"race,omitempty"`
	Preempt []string `json:"preempt,omitempty"`
	Tags    string   `json:"tags,omitempty"`
	Env     []string `json:"env,omitempty"`
	Args    []string `json:"args,omitempty"`
	// Start is the time at which the world began. Files without it are of versions that
	// always began in 2009.
	Start   time.Time `json:"start"`
	Go      string    `json:"go"` // version of the toolchain it was found with
	Verdict Verdict   `json:"verdict"`
	Detail  string    `json:"detail"`
	Hash    string    `json:"hash"`           // of the output then
	Note    string    `json:"note,omitempty"` // for people
}

// NewReplay makes a replay of a failed case.
func NewReplay(ctx context.Context, p Program, c Case, out Outcome) (Replay, error) {
	opt := optionsOf(p)
	tc, err := findToolchain(ctx, opt.Dir)
	if err != nil {
		return Replay{}, err
	}
	return Replay{
		Package: p.Package(), Case: c, Engine: p.Engine(), Race: opt.Race, Preempt: opt.Preempt, Tags: opt.Tags, Env: opt.Env, Args: opt.Args,
		Start: time.Unix(0, opt.start()).UTC(),
		Go:    tc.Version, Verdict: out.Verdict, Detail: out.Detail, Hash: out.Hash,
	}, nil
}

// Save writes the replay to a file.
func (r Replay) Save(path string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

// LoadReplay reads a file of Save.
func LoadReplay(path string) (Replay, error) {
	r := Replay{Start: firstStart}
	data, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("%w: replay %s: %w", ErrInvalid, path, err)
	}
	if r.Package == "" || r.Case.Test == "" {
		return r, fmt.Errorf("%w: replay %s names no package or no test", ErrInvalid, path)
	}
	return r, r.Case.Validate()
}

// Signature is equal for repetitions of the failure.
func (r Replay) Signature() string { return signature(r.Verdict, r.Detail) }

// Build builds the package as it was built for the failure.
func (r Replay) Build(ctx context.Context, opt Options) (Program, error) {
	opt.Engine, opt.Race, opt.Preempt, opt.Tags = r.Engine, r.Race, r.Preempt, r.Tags
	opt.Start = r.Start
	opt.Env = append(slices.Clone(r.Env), opt.Env...)
	opt.Args = append(slices.Clone(r.Args), opt.Args...)
	programs, err := Build(ctx, opt, r.Package)
	if err != nil {
		return nil, err
	}
	return programs[0], nil
}
