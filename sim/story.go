package sim

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// A Story tells a failure: what each goroutine did last, the injected points that
// matter, what happened without each of them, and who waited for what.
type Story struct {
	Last   []Goroutine // in the order of their last events
	Points []StoryPoint
	Waits  []Wait // longest first; of a run that did not end by itself, or was too late
}

// A Goroutine is a goroutine with its last events.
type Goroutine struct {
	ID     uint64
	Name   string // the function that it was started with
	Events []Event
}

// A StoryPoint is an injected point and its effect.
type StoryPoint struct {
	At        Event   // what was held up
	Meanwhile []Event // what other goroutines did until the goroutine went on
	Then      Event   // what the goroutine did when it went on
	Control   []Event // what the goroutine did at once in the run without this point
	Verdict   Verdict // of the run without this point
	Detail    string
}

// A Wait is a goroutine that waited when the run was over.
type Wait struct {
	Goroutine uint64
	Since     time.Duration
	For       time.Duration
	Reason    string
	Function  string
	Place     string
	Holder    *Event // the lock, or the last use of the channel, by another goroutine
}

// Bounds of a story.
const (
	storyLast   = 4 // events of a goroutine
	storyPoints = 3
	storyLines  = 6 // events beside a point
	storyWaits  = 8
)

// Tell runs a failing case once more, and without each of its injected points,
// and tells the failure. The case should be a shrunk one: of many points, only
// the last events are told.
func Tell(ctx context.Context, p Program, c Case) (Story, error) {
	if p.Engine() != Native {
		return Story{}, fmt.Errorf("%w: the %s engine records no events", ErrUnsupported, p.Engine())
	}
	out, err := Record(ctx, p, c)
	if err != nil {
		return Story{}, err
	}
	r := recording{out.Events, out.Virtual}
	s := Story{Last: r.goroutines()}
	if out.Verdict == Liveness || out.Verdict == Deadlock {
		s.Waits = r.waits()
	}
	if len(out.Injected) > storyPoints || c.Explore.Base() {
		return s, nil
	}
	for i := range out.Injected {
		one, ok := r.point(out.Injected[i])
		if !ok {
			continue
		}
		control := c
		control.Explore = c.Explore.listing(slices.Delete(slices.Clone(out.Injected), i, i+1))
		without, err := Record(ctx, p, control)
		if err != nil {
			return s, err
		}
		one.Verdict, one.Detail = without.Verdict, without.Detail
		one.Control = recording{without.Events, without.Virtual}.from(out.Injected[i])
		s.Points = append(s.Points, one)
	}
	return s, nil
}

// recording is the events of a run.
type recording struct {
	events []Event
	end    time.Duration
}

// ours reports whether an event belongs to the program rather than to the
// framework of tests.
func ours(e Event) bool {
	switch e.Kind {
	case Passes, Injects, Waits:
		return e.Function != "" && e.Function != "main.main" && !strings.HasPrefix(e.Function, "testing/")
	}
	return false
}

// goroutines lists the goroutines with their last own events.
func (r recording) goroutines() []Goroutine {
	byIdentity := map[uint64]*Goroutine{}
	var order []*Goroutine
	names := map[uint64]string{}
	for _, e := range r.events {
		if e.Kind == Starts {
			names[e.Goroutine] = e.What
		}
		if !ours(e) {
			continue
		}
		g := byIdentity[e.Goroutine]
		if g == nil {
			g = &Goroutine{Name: names[e.Goroutine]}
			byIdentity[e.Goroutine] = g
			order = append(order, g)
		}
		g.ID = e.ID
		g.Events = append(g.Events, e)
		if len(g.Events) > storyLast {
			g.Events = g.Events[1:]
		}
	}
	slices.SortStableFunc(order, func(a, b *Goroutine) int {
		return cmp.Compare(a.Events[len(a.Events)-1].Number, b.Events[len(b.Events)-1].Number)
	})
	list := make([]Goroutine, len(order))
	for i, g := range order {
		list[i] = *g
	}
	return list
}

// point finds the event of an injected point, and what followed.
func (r recording) point(p Point) (StoryPoint, bool) {
	at := slices.IndexFunc(r.events, func(e Event) bool { return e.Kind == Injects && e.Goroutine == p.Goroutine && e.Op == p.Op })
	if at < 0 {
		return StoryPoint{}, false
	}
	s := StoryPoint{At: r.events[at]}
	for _, e := range r.events[at+1:] {
		if e.Goroutine != p.Goroutine {
			if ours(e) {
				s.Meanwhile = append(s.Meanwhile, e)
			}
			continue
		}
		if ours(e) {
			s.Then = e
			break
		}
	}
	return s, true
}

// from lists what a goroutine did from an operation on, up to where another
// goroutine ran.
func (r recording) from(p Point) []Event {
	at := slices.IndexFunc(r.events, func(e Event) bool { return e.Kind == Passes && e.Goroutine == p.Goroutine && e.Op == p.Op })
	if at < 0 {
		return nil
	}
	var list []Event
	for _, e := range r.events[at:] {
		if e.Goroutine != p.Goroutine && e.Kind == Runs {
			break
		}
		if e.Goroutine == p.Goroutine && ours(e) {
			list = append(list, e)
		}
	}
	return list
}

// waits lists the goroutines that waited at the end.
func (r recording) waits() []Wait {
	last := map[uint64]int{}
	for i, e := range r.events {
		if e.Kind != Starts {
			last[e.Goroutine] = i
		}
	}
	var list []Wait
	for id, i := range last {
		e := r.events[i]
		if e.Kind != Waits || !ours(e) {
			continue
		}
		list = append(list, Wait{
			Goroutine: e.ID, Since: e.At, For: r.end - e.At, Reason: e.What, Function: e.Function, Place: e.Place,
			Holder: r.holder(id, i),
		})
	}
	slices.SortFunc(list, func(a, b Wait) int {
		return cmp.Or(cmp.Compare(a.Since, b.Since), cmp.Compare(a.Goroutine, b.Goroutine))
	})
	return list
}

// holder finds the other goroutine that holds the lock, or has used the channel
// last, for which a goroutine waits since its event i.
func (r recording) holder(id uint64, i int) *Event {
	object, lock := uint64(0), false
	for j := i - 1; j >= 0; j-- {
		if e := r.events[j]; e.Goroutine == id && e.Kind == Passes {
			object, lock = e.Object, strings.HasSuffix(e.What, "Lock")
			break
		}
	}
	if object == 0 {
		return nil
	}
	free := map[uint64]bool{} // goroutines that have unlocked since
	for j := len(r.events) - 1; j >= 0; j-- {
		e := &r.events[j]
		if e.Object != object || e.Kind != Passes || e.Goroutine == id || free[e.Goroutine] {
			continue
		}
		if !lock {
			return e
		}
		free[e.Goroutine] = true
		if strings.HasSuffix(e.What, "Lock") && !r.waitsAfter(j) {
			return e
		}
	}
	return nil
}

// waitsAfter reports whether the goroutine of event i, which asks for a lock,
// still waits for the lock in the end.
func (r recording) waitsAfter(i int) bool {
	waits := false
	for _, e := range r.events[i+1:] {
		if e.Goroutine != r.events[i].Goroutine {
			continue
		}
		switch e.Kind {
		case Passes, Finishes:
			return false
		case Waits:
			waits = strings.Contains(e.What, "Mutex")
		}
	}
	return waits
}

// Print writes the story, each line behind an indentation.
func (s Story) Print(w io.Writer, indent string) {
	line := func(format string, args ...any) { fmt.Fprintf(w, indent+format+"\n", args...) }
	some := func(events []Event) { // the first and the last few
		for i, e := range events {
			switch {
			case i < storyLines/2 || i >= len(events)-storyLines/2:
				line("    %s", e.did())
			case i == storyLines/2:
				line("    ... and %d more events", len(events)-storyLines)
			}
		}
	}
	for _, p := range s.Points {
		line("%v: %s", p.At.At, p.At.did())
		line("  meanwhile:")
		some(p.Meanwhile)
		if p.Then.Number > 0 {
			line("  then: %s", p.Then.did())
		}
		line("  without this point, the run %s, and the goroutine went on:", ended(p.Verdict, p.Detail))
		some(p.Control)
	}
	if len(s.Waits) > 0 {
		line("who waited in the end:")
	}
	for _, wait := range s.Waits[:min(len(s.Waits), storyWaits)] {
		line("  goroutine %d for %v: %s in %s %s%s", wait.Goroutine, wait.For.Round(time.Microsecond), wait.Reason, wait.Function, wait.Place, wait.held())
	}
	if len(s.Last) > 0 {
		line("the last events of each goroutine:")
	}
	for _, g := range s.Last {
		line("  goroutine %d%s", g.ID, suffix(g.Name))
		for _, e := range g.Events {
			line("    %v: %s", e.At, e.step())
		}
	}
}

func ended(v Verdict, detail string) string {
	if v == Pass {
		return "passes"
	}
	return fmt.Sprintf("ends in %s (%s)", v, detail)
}

func (w Wait) held() string {
	switch h := w.Holder; {
	case h == nil:
		return ""
	case strings.HasSuffix(h.What, "Lock"):
		return fmt.Sprintf(", which goroutine %d holds since %v by %s in %s %s", h.ID, h.At, h.What, h.Function, h.Place)
	default:
		return fmt.Sprintf(", last used by goroutine %d after %v: %s in %s %s", h.ID, h.At, h.What, h.Function, h.Place)
	}
}
