package sim

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// PCT is the strategy of Burckhardt et al., "A Randomized Scheduler with
// Probabilistic Guarantees of Finding Bugs" (2010). Each goroutine has a random
// priority, and the runnable goroutine with the highest priority runs. At
// Depth-1 random points of the run, the running goroutine falls below all
// others.
const PCT = "pct"

// DefaultDepth is the depth of PCT if none is given.
const DefaultDepth = 3

// MaxDepth bounds the depth of PCT.
const MaxDepth = 64

// Explore describes the injected perturbations of a run. Without a strategy,
// each decision is a pure function of the seed, its purpose, the goroutine and
// the goroutine's count of operations, so no decision moves another. The zero
// value is the unperturbed base, the control.
type Explore struct {
	Yields   float64       `json:"yields,omitempty"`   // share of points that yield, 0 to 1
	Sleeps   float64       `json:"sleeps,omitempty"`   // share that sleeps, 0 to 0.05
	MaxSleep time.Duration `json:"maxSleep,omitempty"` // longest sleep; 0 means 20 ms, at most 200 ms
	Strategy string        `json:"strategy,omitempty"` // PCT, or "" for Yields and Sleeps
	Depth    int           `json:"depth,omitempty"`    // PCT: one more than the number of change points; 0 means DefaultDepth
	Steps    uint64        `json:"steps,omitempty"`    // PCT: the change points lie among so many points; a sweep measures it if 0
	Turns    []Turn        `json:"turns,omitempty"`    // where the exploration goes on with another seed, in ascending order
	Points   []Point       `json:"points,omitempty"`   // if Listed, exactly these points (with PCT: change points) and no others
	Listed   bool          `json:"listed,omitempty"`
}

// A Turn gives the exploration another seed from a point of the run on. The
// world before that point stays as it was, and the world's own seed stays too.
// Guided sweeps change worlds in this way.
type Turn struct {
	After uint64 `json:"after"` // number of the point, over all goroutines
	Seed  uint64 `json:"seed"`
}

// MaxTurns bounds the turns of an Explore.
const MaxTurns = 64

// ParseTurns reads the form of FormatTurns, for example "120:7,300:8".
func ParseTurns(s string) ([]Turn, error) {
	var turns []Turn
	for part := range strings.SplitSeq(s, ",") {
		if part == "" {
			continue
		}
		after, seed, _ := strings.Cut(part, ":")
		a, err1 := strconv.ParseUint(after, 10, 64)
		b, err2 := strconv.ParseUint(seed, 10, 64)
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf("%w: turn %q is not POINT:SEED", ErrInvalid, part)
		}
		turns = append(turns, Turn{a, b})
	}
	return turns, Explore{Turns: turns}.validateTurns()
}

// FormatTurns is the form that ParseTurns reads.
func FormatTurns(turns []Turn) string {
	parts := make([]string, len(turns))
	for i, t := range turns {
		parts[i] = fmt.Sprintf("%d:%d", t.After, t.Seed)
	}
	return strings.Join(parts, ",")
}

// Validate reports a value out of range as ErrInvalid.
func (e Explore) Validate() error {
	switch {
	case e.Yields < 0 || e.Yields > 1:
		return fmt.Errorf("%w: share of yields %v is not within 0 and 1", ErrInvalid, e.Yields)
	case e.Sleeps < 0 || e.Sleeps > MaxSleepRate:
		return fmt.Errorf("%w: share of sleeps %v is not within 0 and %v", ErrInvalid, e.Sleeps, MaxSleepRate)
	case e.MaxSleep < 0 || e.MaxSleep > MaxSleep:
		return fmt.Errorf("%w: longest sleep %v is not within 0 and %v", ErrInvalid, e.MaxSleep, MaxSleep)
	case e.Strategy != "" && e.Strategy != PCT:
		return fmt.Errorf("%w: strategy %q is neither %q nor empty", ErrInvalid, e.Strategy, PCT)
	case e.Strategy == PCT && (e.Yields != 0 || e.Sleeps != 0):
		return fmt.Errorf("%w: strategy %s has change points and takes no shares of yields (%v) and sleeps (%v)", ErrInvalid, PCT, e.Yields, e.Sleeps)
	case e.Strategy == "" && e.Depth != 0:
		return fmt.Errorf("%w: depth %d goes with strategy %s", ErrInvalid, e.Depth, PCT)
	case e.Depth < 0 || e.Depth > MaxDepth:
		return fmt.Errorf("%w: depth %d is not within 1 and %d", ErrInvalid, e.Depth, MaxDepth)
	case e.Steps > 1<<62:
		return fmt.Errorf("%w: number of points %d is above %d", ErrInvalid, e.Steps, uint64(1<<62))
	}
	for _, p := range e.Points {
		if p.Sleep < 0 || p.Sleep > MaxSleep || p.Op == 0 {
			return fmt.Errorf("%w: point %+v: operations count from 1, sleeps are within 0 and %v", ErrInvalid, p, MaxSleep)
		}
	}
	return e.validateTurns()
}

func (e Explore) validateTurns() error {
	if len(e.Turns) > MaxTurns {
		return fmt.Errorf("%w: %d turns are more than %d", ErrInvalid, len(e.Turns), MaxTurns)
	}
	for i, t := range e.Turns {
		if i > 0 && t.After < e.Turns[i-1].After {
			return fmt.Errorf("%w: the turn after point %d comes behind the turn after point %d", ErrInvalid, t.After, e.Turns[i-1].After)
		}
	}
	return nil
}

// Base reports whether e leaves the schedule alone.
func (e Explore) Base() bool {
	return e.Yields == 0 && e.Sleeps == 0 && e.Strategy == "" && len(e.Points) == 0
}

// String names e in a table, without the turns.
func (e Explore) String() string {
	switch {
	case e.Listed && e.Strategy == PCT:
		return fmt.Sprintf("pct, %d points", len(e.Points))
	case e.Listed:
		return fmt.Sprintf("%d points", len(e.Points))
	case e.Strategy == PCT:
		return fmt.Sprintf("pct depth %d", e.depth())
	case e.Base():
		return "none"
	case e.Sleeps == 0:
		return fmt.Sprintf("yields %g", e.Yields)
	case e.Yields == 0:
		return fmt.Sprintf("sleeps %g up to %v", e.Sleeps, e.longest())
	}
	return fmt.Sprintf("yields %g, sleeps %g up to %v", e.Yields, e.Sleeps, e.longest())
}

// key distinguishes e from every other Explore.
func (e Explore) key() string {
	return fmt.Sprintf("%s %d %s %v", e, e.Steps, FormatTurns(e.Turns), e.Points)
}

func (e Explore) longest() time.Duration {
	if e.MaxSleep == 0 {
		return 20 * time.Millisecond
	}
	return e.MaxSleep
}

func (e Explore) depth() int {
	if e.Depth == 0 {
		return DefaultDepth
	}
	return e.Depth
}

// listing is e with exactly the given points.
func (e Explore) listing(points []Point) Explore {
	return Explore{Strategy: e.Strategy, Depth: e.Depth, Steps: e.Steps, Turns: e.Turns, Listed: true, Points: points}
}
