package sim

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
)

// A guide derives the worlds of one test from earlier worlds. A world is worth
// keeping if two points followed each other that did not do so before, in
// different goroutines. A derived world equals its parent up to a random point,
// and explores with another seed from there on.
//
// Each seed gives one world. Which world follows from the seed and from the
// outcomes of earlier generations, so a guided sweep repeats whatever the number
// of jobs.
type guide struct {
	seen [coverBits / 8]byte
	kept []parent
}

// parent is a world that met new pairs.
type parent struct {
	c      Case
	points uint64
}

// guideGeneration is the number of seeds that are tried before the outcomes
// count.
const guideGeneration = 8

// guideFresh is one in how many worlds that has no parent.
const guideFresh = 3

// guideRecent is the number of the last parents that are taken as often as all
// others together.
const guideRecent = 8

// derive returns the case of a seed.
func (g *guide) derive(c Case, seed uint64) Case {
	c.Seed, c.cover = seed, true
	random := rand.New(rand.NewPCG(seed, 0x67756964))
	if len(g.kept) == 0 || random.IntN(guideFresh) == 0 {
		return c
	}
	from := g.kept
	if len(from) > guideRecent && random.IntN(2) == 0 {
		from = from[len(from)-guideRecent:]
	}
	one := from[random.IntN(len(from))]
	cut := random.Uint64N(max(one.points, 1))
	turns := slices.Clone(one.c.Explore.Turns)
	turns = slices.DeleteFunc(turns, func(t Turn) bool { return t.After > cut })
	if len(turns) == MaxTurns {
		return c
	}
	c.Seed = one.c.Seed
	c.Explore.Turns = append(turns, Turn{After: cut, Seed: seed})
	return c
}

// learn keeps a world that met new pairs.
func (g *guide) learn(c Case, out Outcome) {
	fresh := false
	for i, bits := range out.covered {
		if bits&^g.seen[i] != 0 {
			fresh = true
			g.seen[i] |= bits
		}
	}
	if fresh {
		g.kept = append(g.kept, parent{c, out.Points})
	}
}

// guide is produce for a guided sweep.
func (s *Sweep) guide(ctx context.Context, tests []job, jobs chan<- job) {
	defer close(jobs)
	guides := make([]guide, len(tests))
	var seeds []uint64
	generation := func(ctx context.Context) bool {
		type tried struct {
			test int
			c    Case
			out  Outcome
		}
		var all []*tried
		var wg sync.WaitGroup
		defer wg.Wait()
		batch := seeds
		seeds = nil
		for _, seed := range batch {
			for i, j := range tests {
				if j.c.Explore.Base() {
					j.c.Seed = seed
				} else {
					one := &tried{test: i, c: guides[i].derive(j.c, seed)}
					all = append(all, one)
					j.c = one.c
					wg.Add(1)
					j.done = func(out Outcome) { one.out = out; wg.Done() }
				}
				select {
				case jobs <- j:
				case <-ctx.Done():
					if j.done != nil {
						wg.Done()
					}
					return false
				}
			}
		}
		wg.Wait()
		for _, one := range all {
			guides[one.test].learn(one.c, one.out)
		}
		return true
	}
	s.each(ctx, func(ctx context.Context, seed uint64) bool {
		seeds = append(seeds, seed)
		return len(seeds) < guideGeneration || generation(ctx)
	})
	generation(ctx)
}
