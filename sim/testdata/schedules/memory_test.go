package schedules

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

// TestLostUpdate fails if both goroutines read the counter before either one
// writes.
func TestLostUpdate(t *testing.T)      { lostUpdate(t, false) }
func TestLostUpdateFixed(t *testing.T) { lostUpdate(t, true) }

func lostUpdate(t *testing.T, fixed bool) {
	var mu sync.Mutex
	n := 0
	count := func() {
		for range 3 {
			if fixed {
				mu.Lock()
				n++
				mu.Unlock()
			} else {
				n++
			}
		}
	}
	together(count, count)
	if n != 6 {
		t.Errorf("counted %d, not 6", n)
	}
}

// TestLostUpdateAtomic fails if the second goroutine loads the counter before
// the first one stores.
func TestLostUpdateAtomic(t *testing.T)      { lostUpdateAtomic(t, false) }
func TestLostUpdateAtomicFixed(t *testing.T) { lostUpdateAtomic(t, true) }

func lostUpdateAtomic(t *testing.T, fixed bool) {
	var n atomic.Int64
	count := func() {
		if fixed {
			n.Add(1)
		} else {
			n.Store(n.Load() + 1)
		}
	}
	together(count, count)
	if n.Load() != 2 {
		t.Errorf("counted %d, not 2", n.Load())
	}
}

// TestPublication fails if the reader sees the flag between its write and the
// write of the value.
func TestPublication(t *testing.T)      { publication(t, false) }
func TestPublicationFixed(t *testing.T) { publication(t, true) }

func publication(t *testing.T, fixed bool) {
	var ready atomic.Bool
	var value *string
	text := "text"
	together(
		func() {
			if fixed {
				value = &text
				ready.Store(true)
			} else {
				ready.Store(true)
				value = &text
			}
		},
		func() {
			if ready.Load() && value == nil {
				t.Error("ready, and without a value")
			}
		},
	)
}

// TestDoubleChecked fails if a reader without the lock sees the instance before
// its table is there.
func TestDoubleChecked(t *testing.T)      { doubleChecked(t, false) }
func TestDoubleCheckedFixed(t *testing.T) { doubleChecked(t, true) }

func doubleChecked(t *testing.T, fixed bool) {
	type table struct{ rows []int }
	var mu sync.Mutex
	var instance atomic.Pointer[table]
	get := func() *table {
		if one := instance.Load(); one != nil {
			return one
		}
		mu.Lock()
		defer mu.Unlock()
		if one := instance.Load(); one != nil {
			return one
		}
		one := new(table)
		if !fixed {
			instance.Store(one)
		}
		one.rows = []int{1, 2, 3}
		if fixed {
			instance.Store(one)
		}
		return one
	}
	look := func() {
		if len(get().rows) != 3 {
			t.Error("the table has no rows yet")
		}
	}
	together(look, look)
}

// TestTwoHalves fails if the reader comes between the two writes of a pair.
func TestTwoHalves(t *testing.T)      { twoHalves(t, false) }
func TestTwoHalvesFixed(t *testing.T) { twoHalves(t, true) }

func twoHalves(t *testing.T, fixed bool) {
	var mu sync.Mutex
	pair := &struct{ term, vote int }{}
	guard := func(f func()) {
		if fixed {
			mu.Lock()
			defer mu.Unlock()
		}
		f()
	}
	together(
		func() {
			for term := range 4 {
				guard(func() {
					pair.term = term
					pair.vote = -term
				})
			}
		},
		func() {
			guard(func() {
				if term, vote := pair.term, pair.vote; term != -vote {
					t.Errorf("term %d has the vote %d of another term", term, vote)
				}
			})
		},
	)
}

// TestABA fails if, between the load and the swap of a pop, the other goroutine
// pops two nodes and pushes the first one again.
func TestABA(t *testing.T)      { aba(t, false) }
func TestABAFixed(t *testing.T) { aba(t, true) }

func aba(t *testing.T, fixed bool) {
	const none = 3
	var next [3]atomic.Uint64
	var top atomic.Uint64 // a node, and with the fix a count of changes
	for i := range next {
		next[i].Store(uint64(i + 1))
	}
	swap := func(old, node uint64) bool {
		changes := old &^ 0xff
		if fixed {
			changes += 0x100
		}
		return top.CompareAndSwap(old, changes|node)
	}
	pop := func() uint64 {
		for {
			old := top.Load()
			node := old & 0xff
			if node == none || swap(old, next[node].Load()) {
				return node
			}
		}
	}
	push := func(node uint64) {
		for {
			old := top.Load()
			next[node].Store(old & 0xff)
			if swap(old, node) {
				return
			}
		}
	}
	var taken [4]atomic.Int64
	take := func() uint64 {
		node := pop()
		if node != none && taken[node].Add(1) > 1 {
			t.Errorf("node %d was taken by two", node)
		}
		return node
	}
	together(
		func() {
			take()
			take()
		},
		func() {
			first := take()
			take()
			if first != none {
				taken[first].Add(-1)
				push(first)
			}
		},
	)
}

// TestMutualExclusion fails if both goroutines look at the other one's flag
// before they raise their own.
func TestMutualExclusion(t *testing.T)      { mutualExclusion(t, false) }
func TestMutualExclusionFixed(t *testing.T) { mutualExclusion(t, true) }

func mutualExclusion(t *testing.T, fixed bool) {
	var flags [2]atomic.Bool
	var inside atomic.Int32
	enter := func(me int) func() {
		return func() {
			for range 2 {
				if fixed {
					flags[me].Store(true)
				}
				if !flags[1-me].Load() {
					flags[me].Store(true)
					if inside.Add(1) > 1 {
						t.Error("two are inside")
					}
					inside.Add(-1)
				}
				flags[me].Store(false)
			}
		}
	}
	together(enter(0), enter(1))
}

// TestResurrection fails if a goroutine finds the object in use, the last user
// lets go and frees it, and then the goroutine counts itself as a user.
func TestResurrection(t *testing.T)      { resurrection(t, false) }
func TestResurrectionFixed(t *testing.T) { resurrection(t, true) }

func resurrection(t *testing.T, fixed bool) {
	var users atomic.Int64
	var freed atomic.Bool
	users.Store(1)
	acquire := func() bool {
		for {
			n := users.Load()
			if n == 0 {
				return false
			}
			if !fixed {
				users.Add(1)
				return true
			}
			if users.CompareAndSwap(n, n+1) {
				return true
			}
		}
	}
	release := func() {
		if users.Add(-1) == 0 {
			freed.Store(true)
		}
	}
	together(release, func() {
		if acquire() {
			if freed.Load() {
				t.Error("the object is used after it was freed")
			}
			release()
		}
	})
}

// TestSharedError fails if the goroutine without an error writes the shared
// variable last.
func TestSharedError(t *testing.T)      { sharedError(t, false) }
func TestSharedErrorFixed(t *testing.T) { sharedError(t, true) }

func sharedError(t *testing.T, fixed bool) {
	work := func(i int) error {
		if i == 1 {
			return errors.New("task 1 failed")
		}
		return nil
	}
	var err error
	var mu sync.Mutex
	task := func(i int) func() {
		return func() {
			if !fixed {
				err = work(i)
				return
			}
			if own := work(i); own != nil {
				mu.Lock()
				err = own
				mu.Unlock()
			}
		}
	}
	together(task(0), task(1))
	if err == nil {
		t.Error("the error of task 1 is gone")
	}
}

// TestSubscribers fails if a subscriber leaves while the notifier walks the
// list, and the subscriber behind it moves to a place that was walked already.
func TestSubscribers(t *testing.T)      { subscribers(t, false) }
func TestSubscribersFixed(t *testing.T) { subscribers(t, true) }

func subscribers(t *testing.T, fixed bool) {
	var mu sync.Mutex
	list := []int{1, 2, 3}
	told := map[int]int{}
	together(
		func() { // notifies
			mu.Lock()
			walked := list
			if fixed {
				walked = append([]int(nil), list...)
			}
			mu.Unlock()
			for i := range walked {
				mu.Lock()
				told[walked[i]]++
				mu.Unlock()
			}
		},
		func() { // 1 leaves
			mu.Lock()
			list = append(list[:0], list[1:]...)
			mu.Unlock()
		},
	)
	if told[2] != 1 || told[3] != 1 {
		t.Errorf("2 was told %d times and 3 %d times", told[2], told[3])
	}
}

// TestOncePanic fails if the first user comes before the configuration: Do
// counts as done although it panicked.
func TestOncePanic(t *testing.T)      { oncePanic(t, false) }
func TestOncePanicFixed(t *testing.T) { oncePanic(t, true) }

func oncePanic(t *testing.T, fixed bool) {
	var mu sync.Mutex
	var once sync.Once
	var config atomic.Pointer[string]
	address := ""
	connect := func() {
		defer func() { _ = recover() }()
		load := func() { address = *config.Load() }
		if fixed {
			mu.Lock()
			defer mu.Unlock()
			if address == "" {
				load()
			}
		} else {
			once.Do(load)
		}
	}
	host := "db"
	together(
		func() { config.Store(&host) },
		connect,
	)
	connect() // tries again
	if address != "db" {
		t.Error("no address after the configuration has come")
	}
}
