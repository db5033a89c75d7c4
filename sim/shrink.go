package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// ErrNotReproduced is returned if the case to shrink does not fail, or does not
// fail in the same way with its perturbations given as a list.
var ErrNotReproduced = errors.New("sim: failure not reproduced")

// A Shrinker reduces a failing case to the smallest one that still fails in the
// same way. The Shrinker uses delta debugging (Zeller and Hildebrandt 2002)
// over the injected points and over the faults of the test's own network. Where
// delta debugging gets stuck, the Shrinker tries random halves of the points.
// In the end the Shrinker shortens the remaining sleeps.
type Shrinker struct {
	Program Program
	MaxRuns int                          // 0 is 1,000
	OnStep  func(runs int, smaller Case) // after each reduction; may be nil

	runs int
	want string
}

// Shrink returns the reduced case and its outcome.
func (s *Shrinker) Shrink(ctx context.Context, c Case) (Case, Outcome, error) {
	s.runs = 0
	first, err := s.Program.Run(ctx, c)
	if err != nil {
		return c, first, err
	}
	if first.Verdict == Pass {
		return c, first, fmt.Errorf("%w: %s passes with seed %d", ErrNotReproduced, c.Test, c.Seed)
	}
	s.want = first.Signature()
	if len(first.Injected) >= MaxTrace {
		return c, first, fmt.Errorf("%w: %d points were injected, more than a run records (lower the rates)", ErrInvalid, MaxTrace)
	}
	small, err := s.points(ctx, c, first.Injected)
	if err == nil {
		small, err = s.faults(ctx, small)
	}
	if err != nil {
		return c, first, err
	}
	out, _, err := s.fails(ctx, small)
	return small, out, err
}

// fails reports whether a case fails in the wanted way.
func (s *Shrinker) fails(ctx context.Context, c Case) (Outcome, bool, error) {
	s.runs++
	out, err := s.Program.Run(ctx, c)
	return out, err == nil && out.Signature() == s.want, err
}

func (s *Shrinker) spent() bool {
	limit := s.MaxRuns
	if limit == 0 {
		limit = 1000
	}
	return s.runs >= limit
}

func (s *Shrinker) step(c Case) {
	if s.OnStep != nil {
		s.OnStep(s.runs, c)
	}
}

// points reduces the injected points.
func (s *Shrinker) points(ctx context.Context, c Case, all []Point) (Case, error) {
	if c.Explore.Base() {
		return c, nil
	}
	with := func(points []Point) Case {
		listed := c
		listed.Explore = c.Explore.listing(points)
		return listed
	}
	out, ok, err := s.fails(ctx, with(all))
	if err != nil {
		return c, err
	}
	if !ok {
		return c, fmt.Errorf("%w: with its %d points listed, %s is %s (%s)", ErrNotReproduced, len(all), c.Test, out.Verdict, out.Detail)
	}
	try := func(points []Point) (bool, error) { return s.try(ctx, with(points)) }
	points, err := minimize(all, try)
	if err == nil {
		points, err = s.thin(points, try)
	}
	if err != nil {
		return c, err
	}
	if len(points) == 0 {
		base := c
		base.Explore = Explore{}
		if ok, err := s.try(ctx, base); ok || err != nil {
			return base, err
		}
		return with(nil), nil // the priorities alone do it
	}
	points, err = s.shorten(ctx, points, with)
	return with(points), err
}

// thin continues after minimize if many points are left. Leaving out one point
// changes everything after the point. So the few points that matter meet the
// right moment in only some of the smaller worlds, and thin tries random
// halves.
func (s *Shrinker) thin(points []Point, try func([]Point) (bool, error)) ([]Point, error) {
	const patience = 200 // tries without success
	random := rand.New(rand.NewPCG(uint64(len(points)), 0))
	for tries := 0; tries < patience && len(points) > 2 && !s.spent(); tries++ {
		some := slices.DeleteFunc(slices.Clone(points), func(Point) bool { return random.IntN(2) == 0 })
		ok, err := try(some)
		if ok {
			points, err = minimize(some, try)
			tries = 0
		}
		if err != nil {
			return points, err
		}
	}
	return points, nil
}

// try is fails for the search. The search gives up when the runs are spent.
func (s *Shrinker) try(ctx context.Context, c Case) (bool, error) {
	if s.spent() {
		return false, nil
	}
	_, ok, err := s.fails(ctx, c)
	if ok {
		s.step(c)
	}
	return ok, err
}

// faults reduces the faults of the test's network. A run that ends sooner or
// later meets other faults, so the search is repeated until nothing more can be
// removed.
func (s *Shrinker) faults(ctx context.Context, c Case) (Case, error) {
	recorded := c
	recorded.Faults.Record = true
	out, ok, err := s.fails(ctx, recorded)
	if err != nil || !ok || len(out.Faults) == 0 {
		return c, err // no network, or recording itself makes a difference
	}
	for !s.spent() {
		calm := recorded.Faults.Calm
		without := func(kept []Fault) Case {
			some := recorded
			some.Faults.Calm = slices.Clone(calm)
			for _, f := range out.Faults {
				if !slices.Contains(kept, f) {
					some.Faults.Calm = append(some.Faults.Calm, f)
				}
			}
			return some
		}
		kept, err := minimize(out.Faults, func(kept []Fault) (bool, error) { return s.try(ctx, without(kept)) })
		if err != nil || len(kept) == len(out.Faults) {
			return recorded, err
		}
		recorded = without(kept)
		if out, _, err = s.fails(ctx, recorded); err != nil || len(out.Faults) <= len(kept) {
			return recorded, err
		}
	}
	return recorded, nil
}

// shorten turns sleeps into yields, or halves them down to a millisecond.
func (s *Shrinker) shorten(ctx context.Context, points []Point, with func([]Point) Case) ([]Point, error) {
	for i := range points {
		for points[i].Sleep > 0 {
			shorter := slices.Clone(points)
			shorter[i].Sleep = 0
			ok, err := s.try(ctx, with(shorter))
			if !ok && err == nil && points[i].Sleep > 2*time.Millisecond {
				shorter[i].Sleep = (points[i].Sleep / 2).Round(time.Millisecond)
				ok, err = s.try(ctx, with(shorter))
			}
			if err != nil {
				return points, err
			}
			if !ok {
				break
			}
			points = shorter
		}
	}
	return points, nil
}

// minimize is ddmin. It looks for a small part of a list that still fails, and
// first tries the empty list. Then minimize removes chunks, and halves the size
// of the chunks whenever none can be removed.
func minimize[T any](list []T, fails func([]T) (bool, error)) ([]T, error) {
	if ok, err := fails(nil); ok || err != nil || len(list) < 2 {
		if ok {
			list = nil
		}
		return list, err
	}
	for size := (len(list) + 1) / 2; ; {
		removed := false
		for start := 0; start < len(list) && len(list) > 1; {
			rest := slices.Concat(list[:start], list[min(start+size, len(list)):])
			ok, err := fails(rest)
			if err != nil {
				return list, err
			}
			if ok {
				list, removed = rest, true
			} else {
				start += size
			}
		}
		if size == 1 && !removed {
			return list, nil
		}
		size = max(1, min(size/2, len(list)/2))
	}
}
