package sim

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// A Story tells a failure in one list of steps: the last ones of each goroutine,
// and those around the injected points and faults that matter. After the first failed
// check of a test that goes on, nothing is told. Each step is told once.
type Story struct {
	Verdict    Verdict
	Detail     string
	Injected   int         // points of the run
	Goroutines []Goroutine // those of the steps, in the order of their numbers
	Untold     int         // goroutines that are left out
	Steps      []Step      // in the order of the run
	Points     []StoryPoint
}

// A Goroutine is a goroutine with what it runs.
type Goroutine struct {
	ID   uint64
	Name string
}

// A Step is what a goroutine did at one place of the program.
type Step struct {
	Event
	HeldUp bool  // an injected point is here, and the step comes later
	GoesOn bool  // the step that was held up
	Point  int   // from 1, of the injected point of HeldUp or GoesOn, if the story has it
	Waited bool  // the step was not done at once
	Wait   *Wait // of a step that was never done
	Times  int   // equal steps in a row
	Shared int   // from 1, the lock, channel or variable, if steps of several goroutines have it
	Gap    int   // steps before this one that are not told
}

// A StoryPoint is an injected point and what happened without it.
type StoryPoint struct {
	At      Event
	Control []Step // what the goroutine did, up to where another one ran
	Verdict Verdict
	Detail  string
}

// A Wait is a goroutine's wait at the end of a run.
type Wait struct {
	For    time.Duration
	Holder *Event // the lock, or the last use of the channel, by another goroutine
}

// Bounds of a story.
const (
	storyLast       = 4 // steps of a goroutine
	storyGoroutines = 8
	storyPoints     = 3
	storyFaults     = 4 // faults of the world
	storyLines      = 6 // steps beside a point
)

// Tell runs a failing case once more, and without each of its injected points,
// and tells the failure. The case should be a shrunk one: of many points, only
// the last steps are told.
func Tell(ctx context.Context, p Program, c Case) (Story, error) {
	if p.Engine() != Native {
		return Story{}, fmt.Errorf("%w: the %s engine records no events", ErrUnsupported, p.Engine())
	}
	out, err := Record(ctx, p, c)
	if err != nil {
		return Story{}, err
	}
	s := Story{Verdict: out.Verdict, Detail: out.Detail, Injected: len(out.Injected)}
	t := newTelling(out)
	if len(out.Injected) <= storyPoints && !c.Explore.Base() {
		for i, point := range out.Injected {
			at := t.held(point)
			if at < 0 {
				continue
			}
			control := c
			control.Explore = c.Explore.listing(slices.Delete(slices.Clone(out.Injected), i, i+1))
			one, err := without(ctx, p, control, t.steps[at].Event)
			if err != nil {
				return s, err
			}
			s.Points = append(s.Points, one)
			t.tellPoint(at, len(s.Points))
		}
	}
	if out.Verdict == Liveness || out.Verdict == Deadlock {
		t.tellWaits()
	}
	if out.Verdict == Safety {
		t.tellFailure()
	}
	t.tellFaults()
	s.Untold = t.tellLast()
	s.Steps = t.chosen()
	s.Goroutines = t.goroutines(s.Steps)
	return s, nil
}

// without runs a case without the injected point of an event.
func without(ctx context.Context, p Program, control Case, at Event) (StoryPoint, error) {
	out, err := Record(ctx, p, control)
	if err != nil {
		return StoryPoint{}, err
	}
	s := StoryPoint{At: at, Verdict: out.Verdict, Detail: out.Detail}
	if len(out.Events) > 0 && out.Events[0].Number > at.Number { // the run is so long that it has lost them
		short, err := Until(ctx, p, control, at.Number+MaxEvents/2)
		if err != nil {
			return StoryPoint{}, err
		}
		out = short.Outcome
	}
	s.Control = steps(out.Events).from(Point{Goroutine: at.Goroutine, Op: at.Op})
	return s, nil
}

// telling is the steps of a run, and those that are told.
type telling struct {
	recording
	steps stepList // up to the first failed check
	told  map[int]bool
	first []uint64 // goroutines that are told before others
	names map[uint64]string
}

func newTelling(out Outcome) *telling {
	t := &telling{recording: recording{out.Events, out.Virtual}, steps: steps(out.Events), told: map[int]bool{}, names: map[uint64]string{}}
	packages := map[string]bool{}
	for _, s := range t.steps {
		packages[packageOf(s.Function)] = true
	}
	for _, e := range t.events {
		if e.Kind == Starts && (packages[packageOf(e.What)] || strings.HasPrefix(e.What, "testing.")) {
			t.names[e.Goroutine] = e.What
		}
	}
	for _, s := range t.steps {
		switch name := t.names[s.Goroutine]; {
		case name == "":
			t.names[s.Goroutine] = s.Function // started by the standard library
		case strings.HasPrefix(name, "testing."):
			t.names[s.Goroutine] = "the test"
		}
	}
	return t
}

// worldPackage lets a test direct its world.
const worldPackage = "raftlab/sim/world"

// packageOf is the import path of a function's package.
func packageOf(function string) string {
	dirs := strings.LastIndexByte(function, '/') + 1
	name, _, _ := strings.Cut(function[dirs:], ".")
	return function[:dirs] + name
}

// ours reports whether an event belongs to the program rather than to the
// framework of tests or the functions that direct the world.
func ours(e Event) bool {
	switch e.Kind {
	case Passes, Injects, Waits:
		return e.Function != "" && e.Function != "main.main" && !strings.HasPrefix(e.Function, "testing/") && packageOf(e.Function) != worldPackage
	}
	return false
}

type stepList []Step

// steps joins the events of a run that are one step.
func steps(events []Event) stepList {
	var list stepList
	last := map[uint64]int{} // of each goroutine
	for _, e := range events {
		i, known := last[e.Goroutine]
		add := func(s Step) {
			s.Times = 1
			list = append(list, s)
			last[e.Goroutine] = len(list) - 1
		}
		switch {
		case e.Kind == Runs && known && list[i].HeldUp:
			s := Step{Event: list[i].Event, GoesOn: true}
			s.Number, s.At, s.Kind = e.Number, e.At, Runs
			add(s)
		case e.Kind == Meets:
			list = append(list, Step{Event: e, Times: 1})
		case !ours(e):
		case e.Kind == Injects && known && list[i].Kind == Passes && list[i].Op == e.Op:
			list[i].HeldUp, list[i].Sleep, list[i].Kind = true, e.Sleep, Injects
		case e.Kind == Injects:
			add(Step{Event: e, HeldUp: true})
		case e.Kind == Waits && known && list[i].Kind != Waits && list[i].Op == e.Op && list[i].Place == e.Place:
			list[i].Waited = true
		case e.Kind == Passes && known && i == len(list)-1 && list[i].again(e):
			list[i].Times++
			list[i].Op = e.Op
		default:
			add(Step{Event: e, Waited: e.Kind == Waits})
		}
	}
	return list
}

// again reports whether e is one more of the same steps. A call of the standard library may
// have several.
func (s Step) again(e Event) bool {
	return s.Kind == Passes && !s.Waited && s.What == e.What && s.Function == e.Function && s.Place == e.Place &&
		(s.Object == e.Object || s.inside())
}

// inside reports whether a step is a part of a call of the standard library, which uses
// locks of its own. Then the count of the steps and their locks tell nothing.
func (s Step) inside() bool {
	return strings.Contains(s.What, ".") && !strings.HasPrefix(s.What, "sync.") && !strings.HasPrefix(s.What, "sync/atomic.")
}

// from lists what a goroutine did from an operation on, up to where another
// goroutine ran.
func (l stepList) from(p Point) []Step {
	at := slices.IndexFunc(l, func(s Step) bool { return s.Goroutine == p.Goroutine && s.Op >= p.Op })
	if at < 0 {
		return nil
	}
	end := slices.IndexFunc(l[at:], func(s Step) bool { return s.Goroutine != p.Goroutine && s.Kind != Meets || s.GoesOn })
	if end < 0 {
		end = len(l) - at
	}
	return l[at : at+end]
}

// held finds the step of an injected point.
func (t *telling) held(p Point) int {
	return slices.IndexFunc(t.steps, func(s Step) bool { return s.HeldUp && s.Goroutine == p.Goroutine && s.Op == p.Op })
}

// tellPoint tells a step that was held up, the first and the last few steps of other
// goroutines meanwhile, and how the goroutine went on. If others used the same lock,
// channel or variable, their steps there are told.
func (t *telling) tellPoint(at, number int) {
	id, object := t.steps[at].Goroutine, t.steps[at].Object
	t.steps[at].Point = number
	t.told[at] = true
	t.first = append(t.first, id)
	end := at + 1
	var meanwhile, same []int
	for ; end < len(t.steps) && t.steps[end].Goroutine != id; end++ {
		meanwhile = append(meanwhile, end)
		if object != 0 && t.steps[end].Object == object {
			same = append(same, end)
		}
	}
	if len(same) > 0 {
		meanwhile = same
	}
	for n, i := range meanwhile {
		if n < storyLines/2 || n >= len(meanwhile)-storyLines/2 {
			t.told[i] = true
		}
	}
	if end < len(t.steps) {
		t.told[end] = true
		if t.steps[end].GoesOn {
			t.steps[end].Point = number
		}
	}
}

// tellWaits notes which goroutines waited at the end. Those that wait for one
// another come first, and then those that have waited for the longest time.
func (t *telling) tellWaits() {
	last := map[uint64]int{}
	for i, e := range t.events {
		if e.Kind != Starts {
			last[e.Goroutine] = i
		}
	}
	lastStep := map[uint64]int{}
	for i, s := range t.steps {
		lastStep[s.Goroutine] = i
	}
	var waiting []int
	for id, i := range last {
		at, ok := lastStep[id]
		if e := t.events[i]; e.Kind != Waits || !ours(e) || !ok {
			continue
		}
		t.steps[at].Wait = &Wait{For: t.end - t.events[i].At, Holder: t.holder(id, i)}
		waiting = append(waiting, at)
	}
	slices.SortFunc(waiting, func(a, b int) int {
		x, y := t.steps[a].Wait, t.steps[b].Wait
		if held := (x.Holder != nil) != (y.Holder != nil); held {
			if x.Holder != nil {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(y.For, x.For), cmp.Compare(a, b))
	})
	for _, at := range waiting {
		t.first = append(t.first, t.steps[at].Goroutine)
		if h := t.steps[at].Wait.Holder; h != nil {
			t.first = append(t.first, h.Goroutine)
			i := slices.IndexFunc(t.steps, func(s Step) bool { return s.Goroutine == h.Goroutine && s.Op >= h.Op })
			if i >= 0 {
				t.told[i] = true
			}
		}
	}
}

// failing are the methods by which a test fails. Failed only asks.
var failing = regexp.MustCompile(`^testing\.\(\*common\)\.(Errorf?|Fail|FailNow|Fatalf?)$`)

// tellFailure ends the steps at the first failed check.
func (t *telling) tellFailure() {
	at := slices.IndexFunc(t.steps, func(s Step) bool {
		return failing.MatchString(s.What)
	})
	if at >= 0 {
		t.steps = t.steps[:at+1]
		t.first = append([]uint64{t.steps[at].Goroutine}, t.first...)
	}
}

// tellFaults tells the last faults of the world, with a few steps before and after each one.
func (t *telling) tellFaults() {
	left := storyFaults
	for at := len(t.steps) - 1; at >= 0 && left > 0; at-- {
		if t.steps[at].Kind != Meets {
			continue
		}
		left--
		for i := max(at-storyLines/2, 0); i <= min(at+storyLines/2, len(t.steps)-1); i++ {
			t.told[i] = t.told[i] || t.steps[i].Kind != Meets || i == at
		}
	}
}

// tellLast tells the last steps of goroutines, those that matter and then those that
// ran last. The result is the number of the other goroutines.
func (t *telling) tellLast() int {
	order := t.first
	for _, s := range slices.Backward(t.steps) {
		if s.Kind != Meets {
			order = append(order, s.Goroutine)
		}
	}
	left := map[uint64]int{} // steps to tell
	others := map[uint64]bool{}
	for _, id := range order {
		if _, ok := left[id]; !ok && len(left) < storyGoroutines {
			left[id] = storyLast
		} else if !ok {
			others[id] = true
		}
	}
	for i := len(t.steps) - 1; i >= 0; i-- {
		if id := t.steps[i].Goroutine; left[id] > 0 {
			left[id]--
			t.told[i] = true
		}
	}
	for i := range t.told {
		delete(others, t.steps[i].Goroutine)
	}
	return len(others)
}

// chosen lists the steps that are told, and numbers what they share.
func (t *telling) chosen() []Step {
	var list []Step
	gap := 0
	users := map[uint64]map[uint64]bool{}
	for i, s := range t.steps {
		if !t.told[i] {
			gap++
			continue
		}
		s.Gap, gap = gap, 0
		if s.Object != 0 && !s.inside() {
			if users[s.Object] == nil {
				users[s.Object] = map[uint64]bool{}
			}
			users[s.Object][s.Goroutine] = true
		}
		list = append(list, s)
	}
	numbers := map[uint64]int{}
	for i, s := range list {
		if len(users[s.Object]) < 2 {
			continue
		}
		if numbers[s.Object] == 0 {
			numbers[s.Object] = len(numbers) + 1
		}
		list[i].Shared = numbers[s.Object]
	}
	return list
}

func (t *telling) goroutines(told []Step) []Goroutine {
	names := map[uint64]string{}
	for _, s := range told {
		if s.Kind != Meets {
			names[s.ID] = t.names[s.Goroutine]
		}
	}
	var list []Goroutine
	for _, id := range slices.Sorted(maps.Keys(names)) {
		list = append(list, Goroutine{id, names[id]})
	}
	return list
}

// recording is the events of a run.
type recording struct {
	events []Event
	end    time.Duration
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
	if len(s.Steps) == 0 {
		line("no step of the program was recorded")
		return
	}
	line("The run %s.", ended(s.Verdict, s.Detail))
	byName := map[string][]string{}
	var names []string
	for _, g := range s.Goroutines {
		name := shortName(g.Name)
		if byName[name] == nil {
			names = append(names, name)
		}
		byName[name] = append(byName[name], fmt.Sprint("g", g.ID))
	}
	for _, name := range names {
		line("%s: %s", strings.Join(byName[name], ", "), name)
	}
	line("The last steps of each goroutine. A step is listed when it begins, but an Unlock when it is done.%s", s.legend())
	var text bytes.Buffer
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, step := range s.Steps {
		if step.Gap > 0 {
			fmt.Fprintf(table, "%s\t\t\t... %s\t\n", indent, count(step.Gap))
		}
		fmt.Fprintf(table, "%s%s\t%v\t%s\t%s\t%s%s\n", indent, letter(step.Point), shown(step.At), step.who(), step.text(), where(step.Event), step.end())
	}
	if s.Untold > 0 {
		fmt.Fprintf(table, "%s\t\t\t%d more goroutines are left out\t\n", indent, s.Untold)
	}
	table.Flush()
	for row := range bytes.Lines(text.Bytes()) {
		fmt.Fprintln(w, strings.TrimRight(string(row), " \n")) // cells without text end in blanks
	}
	line("The last step here is event %d, for --until of a replay.", s.Steps[len(s.Steps)-1].Number)
	for i, p := range s.Points {
		line("%s was injected. Without %s, the run %s. There g%d did not stop%s", letter(i+1), letter(i+1), ended(p.Verdict, p.Detail), p.At.ID, instead(p.Control))
	}
	if len(s.Points) == 0 && s.Injected > 0 {
		line("%d points were injected. --shrink finds those that matter.", s.Injected)
	}
}

// legend explains the signs of the steps.
func (s Story) legend() string {
	text := ""
	if slices.ContainsFunc(s.Steps, func(t Step) bool { return t.Shared > 0 }) {
		text += " #1, #2 are locks, channels or variables that several goroutines use."
	}
	return text
}

func count(steps int) string {
	if steps == 1 {
		return "1 step"
	}
	return fmt.Sprint(steps, " steps")
}

// letter names a point.
func letter(point int) string {
	if point == 0 {
		return ""
	}
	return string(rune('A' + point - 1))
}

func shown(d time.Duration) time.Duration {
	if d > time.Second {
		return d.Round(time.Microsecond)
	}
	return d
}

var (
	receiverRE = regexp.MustCompile(`\(\*(\w+)\)`)
	wrapperRE  = regexp.MustCompile(`\.(deferwrap|gowrap)\d+$`)
)

// shortName is a function without the directories of its package, and without what
// the compiler wraps around a call.
func shortName(function string) string {
	return wrapperRE.ReplaceAllString(function[strings.LastIndexByte(function, '/')+1:], "")
}

// operation names what a step does.
func (s Step) operation() string {
	if rest, ok := strings.CutPrefix(s.What, "testing.(*common)."); ok {
		return "t." + rest
	}
	return strings.TrimPrefix(receiverRE.ReplaceAllString(shortName(s.What), "$1"), "sync.")
}

// who names the goroutine of a step. A fault has none.
func (s Step) who() string {
	if s.Kind == Meets {
		return ""
	}
	return fmt.Sprint("g", s.ID)
}

// text says what the goroutine did.
func (s Step) text() string {
	if s.Kind == Meets {
		return s.step()
	}
	text := s.operation()
	if s.Shared > 0 {
		text += fmt.Sprintf(" #%d", s.Shared)
	}
	switch {
	case s.HeldUp && s.Sleep > 0:
		text = fmt.Sprintf("is held up for %v before %s", s.Sleep, text)
	case s.HeldUp:
		text = "is held up before " + text
	case s.GoesOn:
		text = "goes on with " + text
	case s.Kind == Waits:
		text = "waits: " + text
	}
	if s.Waited && s.Kind != Waits {
		text += ", and waits"
	}
	if s.Times > 1 && !s.inside() {
		text += fmt.Sprintf(", %d times", s.Times)
	}
	return text
}

func where(e Event) string {
	if e.Place == "" {
		return ""
	}
	return shortName(e.Function) + " " + e.Place
}

// end says how long the goroutine of the step waited at the end, and for whom.
func (s Step) end() string {
	w := s.Wait
	if w == nil {
		return ""
	}
	text := fmt.Sprintf("\tto the end, for %v", shown(w.For))
	switch h := w.Holder; {
	case h == nil:
	case strings.HasSuffix(h.What, "Lock"):
		text += fmt.Sprintf(": g%d has the lock since %v", h.ID, shown(h.At))
	default:
		text += fmt.Sprintf(": g%d used the channel last, at %v", h.ID, shown(h.At))
	}
	return text
}

func ended(v Verdict, detail string) string {
	if v == Pass {
		return "passes"
	}
	return fmt.Sprintf("ends in %s (%s)", v, detail)
}

// instead lists the steps of a control, the first and the last few.
func instead(control []Step) string {
	var parts []string
	for i, s := range control {
		switch {
		case i < storyLines/2 || i >= len(control)-storyLines/2:
			parts = append(parts, s.text()+" "+s.Place)
		case i == storyLines/2:
			parts = append(parts, "... "+count(len(control)-storyLines))
		}
	}
	if len(parts) == 0 {
		return "."
	}
	return ", and its next steps were: " + strings.Join(parts, "; ") + "."
}
