package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrNotReproduced: the case that was to be shrunk does not fail, or does not
// fail in the same way when its injected points are listed.
var ErrNotReproduced = errors.New("sim: failure not reproduced")

// A Shrinker reduces a failing case to the smallest one that still fails in
// the same way: by delta debugging (Zeller and Hildebrandt 2002) over what was
// injected, then by shortening the sleeps that remain.
type Shrinker struct {
	Program Program
	MaxRuns int                               // 0 is 1,000
	OnStep  func(runs, points int, o Outcome) // after each reduction; may be nil

	runs int
	want string
	base Case
}

// Shrink returns the reduced case and its outcome. A case that fails without
// any injection is returned with none.
func (s *Shrinker) Shrink(ctx context.Context, c Case) (Case, Outcome, error) {
	first, err := s.Program.Run(ctx, c)
	if err != nil {
		return c, first, err
	}
	if first.Verdict == Pass {
		return c, first, fmt.Errorf("%w: %s passes with seed %d", ErrNotReproduced, c.Test, c.Seed)
	}
	if c.Explore.Base() {
		return c, first, nil
	}
	s.runs, s.want, s.base = 0, first.Signature(), c
	if len(first.Injected) >= MaxTrace {
		return c, first, fmt.Errorf("%w: %d points were injected, more than a run records; lower the rates", ErrInvalid, MaxTrace)
	}
	best, ok, err := s.fails(ctx, first.Injected)
	if err != nil {
		return c, first, err
	}
	if !ok {
		return c, first, fmt.Errorf("%w: with its %d points listed, %s is %s (%s)", ErrNotReproduced, len(first.Injected), c.Test, best.Verdict, best.Detail)
	}
	points, err := s.minimize(ctx, first.Injected)
	if err == nil {
		points, err = s.shorten(ctx, points)
	}
	if err != nil {
		return c, first, err
	}
	out, _, err := s.fails(ctx, points)
	return s.listed(points), out, err
}

func (s *Shrinker) listed(points []Point) Case {
	c := s.base
	c.Explore = Explore{Listed: true, Points: points}
	return c
}

// fails reports whether the case fails in the wanted way with these points.
func (s *Shrinker) fails(ctx context.Context, points []Point) (Outcome, bool, error) {
	s.runs++
	out, err := s.Program.Run(ctx, s.listed(points))
	return out, err == nil && out.Signature() == s.want, err
}

func (s *Shrinker) spent() bool {
	limit := s.MaxRuns
	if limit == 0 {
		limit = 1000
	}
	return s.runs >= limit
}

// minimize is ddmin, with the empty list tried first: it removes chunks, half
// as large each time that none can be removed.
func (s *Shrinker) minimize(ctx context.Context, points []Point) ([]Point, error) {
	if _, ok, err := s.fails(ctx, nil); ok || err != nil {
		return nil, err
	}
	for size := (len(points) + 1) / 2; size >= 1 && len(points) > 1; {
		removed := false
		for at := 0; at < len(points) && !s.spent(); {
			rest := slices.Concat(points[:at], points[min(at+size, len(points)):])
			out, ok, err := s.fails(ctx, rest)
			if err != nil {
				return points, err
			}
			if !ok {
				at += size
				continue
			}
			points, removed = rest, true
			s.step(points, out)
		}
		if s.spent() || size == 1 && !removed {
			break
		}
		if !removed || size > len(points)/2 {
			size = max(1, size/2)
		}
	}
	return points, nil
}

// shorten turns sleeps into yields, or halves them down to a millisecond.
func (s *Shrinker) shorten(ctx context.Context, points []Point) ([]Point, error) {
	for i := range points {
		for points[i].Sleep > 0 && !s.spent() {
			shorter := slices.Clone(points)
			shorter[i].Sleep = 0
			out, ok, err := s.fails(ctx, shorter)
			if !ok && err == nil && points[i].Sleep > 2*time.Millisecond {
				shorter[i].Sleep = (points[i].Sleep / 2).Round(time.Millisecond)
				out, ok, err = s.fails(ctx, shorter)
			}
			if err != nil {
				return points, err
			}
			if !ok {
				break
			}
			points = shorter
			s.step(points, out)
		}
	}
	return points, nil
}

func (s *Shrinker) step(points []Point, out Outcome) {
	if s.OnStep != nil {
		s.OnStep(s.runs, len(points), out)
	}
}
