package sim

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"time"
)

// The page is a file shared by a native run and its watcher. The layout is the
// layout of simPage in internal/overlay/files/runtime_sim.go.txt, so the two
// files must change together.
const (
	pageMagic   = 0x314d4953544641
	pageWords   = 128
	recordWords = 4
	faultWords  = 8
	coverBits   = 1 << 16 // pairs of points are counted by their hash

	eventWords = 32
	maxName    = 512     // bytes of the name of a function
	maxDirs    = 1 << 15 // bytes of the directories of a private copy

	dropRights = 2 // those of mayMount

	verdictLimit    = 1
	verdictDeadlock = 2
	verdictStopped  = 3
	verdictNoBreak  = 4
)

// Words of the upper half, the input of the run.
const (
	wordMagic = iota
	wordSize
	wordSeed
	wordLimit
	wordReadTick
	wordReadStep
	wordReadCap
	wordSchedTick
	wordSchedStep
	wordSchedCap
	wordSpinOps
	wordSpinCharge
	wordMode
	wordYieldOdds
	wordSleepOdds
	wordMaxSleep
	wordListed
	wordTraceCap
	wordVerbose
	wordStrategy
	wordChanges
	wordSteps
	wordTurns
	wordExtrasAt
	wordCover
	wordEventCap
	wordUntil
	wordBreakSize
	wordStart
	wordPrivate

	wordNet    = 32 // and the next eleven
	wordCalm   = 44
	wordMetCap = 45
)

// Words of the lower half, the reports of the run.
const (
	wordBegan = pageWords/2 + iota
	wordNow
	wordSchedules
	wordReads
	wordIdles
	wordPoints
	wordInjected
	wordVerdict
	wordForced
	wordMet
	wordEvents
	wordChoices
	wordRefused
)

// The charges of the clock. A read of the clock or a switch of goroutines costs
// about as much as on a real machine. Code that polls without letting the world
// go idle pays more and more, up to the cap.
const (
	readTick   = 100 * time.Nanosecond
	readStep   = 200
	readCap    = 1000
	schedTick  = 200 * time.Nanosecond
	schedStep  = 1000
	schedCap   = 500
	spinOps    = 10_000
	spinCharge = time.Millisecond
)

type page struct {
	f      *os.File
	listed int
	calm   int
	events int // that the ring has room for
}

// newPage writes a case, the time at which the world begins, and the directories of
// privateCopy into an unnamed file, in memory where possible.
func newPage(c Case, start int64, private []byte) (*page, error) {
	f, err := os.CreateTemp("/dev/shm", "raftlab-page-")
	if err != nil {
		f, err = os.CreateTemp("", "raftlab-page-")
	}
	if err != nil {
		return nil, err
	}
	os.Remove(f.Name())
	points := slices.Clone(c.Explore.Points)
	slices.SortFunc(points, comparePoints)
	calm := c.Faults.netCalm()
	p := &page{f: f, listed: len(points), calm: len(calm)}
	if c.events {
		p.events = MaxEvents
	}
	buf := p.encode(c, start, len(private) > 0, points)
	if err = f.Truncate(int64(p.size())); err == nil {
		_, err = f.WriteAt(buf, 0)
	}
	var faults, turns []byte
	for _, fault := range calm {
		for _, w := range fault {
			faults = binary.LittleEndian.AppendUint64(faults, w)
		}
	}
	for _, t := range c.Explore.Turns {
		turns = binary.LittleEndian.AppendUint64(turns, t.After)
		turns = binary.LittleEndian.AppendUint64(turns, t.Seed)
	}
	if err == nil {
		_, err = f.WriteAt(faults, int64(p.faultsAt()))
	}
	if err == nil {
		_, err = f.WriteAt(turns, int64(p.extrasAt()))
	}
	if err == nil {
		_, err = f.WriteAt([]byte(c.stop.function), int64(p.nameAt()))
	}
	if err == nil {
		_, err = f.WriteAt(private, int64(p.dirsAt()))
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("sim: page: %w", err)
	}
	return p, nil
}

// faultsAt is the place of the faults, behind the points.
func (p *page) faultsAt() int { return 8 * (pageWords + recordWords*(p.listed+MaxTrace)) }

// extrasAt is the place of what exploration needs, behind the faults.
func (p *page) extrasAt() int { return p.faultsAt() + 8*faultWords*(p.calm+MaxFaults) }

// coverAt is the place of the pairs of points that were met.
func (p *page) coverAt() int { return p.extrasAt() + 8*2*MaxTurns }

// nameAt is the place of the name of the function at which the run stops.
func (p *page) nameAt() int { return p.coverAt() + coverBits/8 }

// eventsAt is the place of the ring of events.
func (p *page) eventsAt() int { return p.dirsAt() + maxDirs }

// dirsAt is the place of the directories of privateCopy.
func (p *page) dirsAt() int { return p.nameAt() + maxName }

func (p *page) size() int { return p.eventsAt() + 8*eventWords*p.events }

func (p *page) encode(c Case, start int64, private bool, points []Point) []byte {
	words := make([]uint64, pageWords, pageWords+recordWords*len(points))
	set := map[int]uint64{
		wordMagic: pageMagic, wordSize: uint64(p.size()), wordSeed: c.Seed, wordStart: uint64(start),
		wordLimit:    uint64(c.Limits.Virtual),
		wordReadTick: uint64(readTick), wordReadStep: readStep, wordReadCap: readCap,
		wordSchedTick: uint64(schedTick), wordSchedStep: schedStep, wordSchedCap: schedCap,
		wordSpinOps: spinOps, wordSpinCharge: uint64(spinCharge),
		wordYieldOdds: uint64(c.Explore.Yields * (1 << 32)),
		wordSleepOdds: uint64(c.Explore.Sleeps * (1 << 32)),
		wordMaxSleep:  uint64(c.Explore.longest()),
		wordListed:    uint64(len(points)), wordTraceCap: MaxTrace,
		wordCalm: uint64(p.calm), wordMetCap: MaxFaults,
		wordTurns: uint64(len(c.Explore.Turns)), wordExtrasAt: uint64(p.extrasAt()),
		wordEventCap: uint64(p.events), wordUntil: c.stop.event, wordBreakSize: uint64(len(c.stop.function)),
	}
	if c.Explore.Strategy == PCT {
		set[wordStrategy], set[wordChanges], set[wordSteps] = 1, uint64(c.Explore.depth()-1), c.Explore.Steps
	}
	if c.cover {
		set[wordCover] = 1
	}
	if private {
		set[wordPrivate] = 1
		if os.Geteuid() != 0 {
			set[wordPrivate] = dropRights
		}
	}
	for i, w := range c.Net.words() {
		set[wordNet+i] = w
	}
	switch {
	case c.Explore.Listed:
		set[wordMode] = 2
	case !c.Explore.Base():
		set[wordMode] = 1
	}
	if c.Explain {
		set[wordVerbose] = 1
	}
	for i, w := range set {
		words[i] = w
	}
	for _, pt := range points {
		words = append(words, pt.Goroutine, pt.Op, uint64(pt.Sleep), 0)
	}
	buf := make([]byte, 0, 8*len(words))
	for _, w := range words {
		buf = binary.LittleEndian.AppendUint64(buf, w)
	}
	return buf
}

func comparePoints(a, b Point) int {
	return cmp.Or(cmp.Compare(a.Goroutine, b.Goroutine), cmp.Compare(a.Op, b.Op))
}

// report is the lower half of the page.
type report [pageWords]uint64

func (p *page) read() (report, error) {
	var buf [8 * pageWords]byte
	var r report
	if _, err := p.f.ReadAt(buf[:], 0); err != nil {
		return r, err
	}
	for i := range r {
		r[i] = binary.LittleEndian.Uint64(buf[8*i:])
	}
	return r, nil
}

// trace lists the injected points.
func (p *page) trace(r report) ([]Point, error) {
	n := min(r[wordInjected], MaxTrace)
	buf := make([]byte, 8*recordWords*n)
	if _, err := p.f.ReadAt(buf, int64(8*(pageWords+recordWords*p.listed))); n > 0 && err != nil {
		return nil, err
	}
	points := make([]Point, n)
	for i := range points {
		rec := buf[8*recordWords*i:]
		points[i] = Point{
			Goroutine: binary.LittleEndian.Uint64(rec),
			Op:        binary.LittleEndian.Uint64(rec[8:]),
			Sleep:     time.Duration(binary.LittleEndian.Uint64(rec[16:])),
		}
	}
	return points, nil
}

// covered returns the pairs of points that the run met, as bits.
func (p *page) covered() ([]byte, error) {
	buf := make([]byte, coverBits/8)
	_, err := p.f.ReadAt(buf, int64(p.coverAt()))
	return buf, err
}

func (p *page) close() { p.f.Close() }
