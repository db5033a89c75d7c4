package schedules

import (
	"sync"
	"testing"
)

// together runs the functions at once and waits for all.
func together(fs ...func()) {
	var wg sync.WaitGroup
	for _, f := range fs {
		wg.Go(f)
	}
	wg.Wait()
}

// account is a balance behind a lock.
type account struct {
	mu      sync.Mutex
	balance int
}

func (a *account) read() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.balance
}

func (a *account) write(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.balance = n
}

func (a *account) add(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.balance += n
}

// TestLostUpdateLocked fails if the second deposit reads before the first one
// writes.
func TestLostUpdateLocked(t *testing.T)      { lostUpdateLocked(t, false) }
func TestLostUpdateLockedFixed(t *testing.T) { lostUpdateLocked(t, true) }

func lostUpdateLocked(t *testing.T, fixed bool) {
	var a account
	deposit := func() {
		for range 3 {
			if fixed {
				a.add(1)
			} else {
				a.write(a.read() + 1)
			}
		}
	}
	together(deposit, deposit)
	if n := a.read(); n != 6 {
		t.Errorf("the balance is %d after 6 deposits", n)
	}
}

// TestCheckThenAct fails if both goroutines look before either one creates.
func TestCheckThenAct(t *testing.T)      { checkThenAct(t, false) }
func TestCheckThenActFixed(t *testing.T) { checkThenAct(t, true) }

func checkThenAct(t *testing.T, fixed bool) {
	var mu sync.Mutex
	sessions := map[string]int{}
	created := 0
	open := func() {
		mu.Lock()
		_, there := sessions["ann"]
		if !fixed {
			mu.Unlock()
		}
		if !there {
			if !fixed {
				mu.Lock()
			}
			created++
			sessions["ann"] = created
			if !fixed {
				mu.Unlock()
			}
		}
		if fixed {
			mu.Unlock()
		}
	}
	together(open, open, open)
	if created != 1 {
		t.Errorf("%d sessions were created for one user", created)
	}
}

// TestLockOrder fails if each goroutine has its first lock before the other one
// has its second.
func TestLockOrder(t *testing.T)      { lockOrder(t, false) }
func TestLockOrderFixed(t *testing.T) { lockOrder(t, true) }

func lockOrder(t *testing.T, fixed bool) {
	var left, right account
	transfer := func(from, to *account) {
		if fixed && from == &right {
			to.mu.Lock()
			defer to.mu.Unlock()
			from.mu.Lock()
			defer from.mu.Unlock()
		} else {
			from.mu.Lock()
			defer from.mu.Unlock()
			to.mu.Lock()
			defer to.mu.Unlock()
		}
		from.balance--
		to.balance++
	}
	together(func() { transfer(&left, &right) }, func() { transfer(&right, &left) })
	if left.balance != 0 || right.balance != 0 {
		t.Errorf("balances %d and %d after a transfer in each direction", left.balance, right.balance)
	}
}

// TestAudit fails if the audit reads one account before and the other one after
// a transfer, or the other way round.
func TestAudit(t *testing.T)      { audit(t, false) }
func TestAuditFixed(t *testing.T) { audit(t, true) }

func audit(t *testing.T, fixed bool) {
	var bank sync.Mutex
	var left, right account
	left.balance, right.balance = 10, 10
	guard := func(f func()) {
		if fixed {
			bank.Lock()
			defer bank.Unlock()
		}
		f()
	}
	total := 0
	together(
		func() { guard(func() { left.add(-5); right.add(5) }) },
		func() { guard(func() { total = left.read() + right.read() }) },
	)
	if total != 20 {
		t.Errorf("the audit counts %d, not 20", total)
	}
}

// TestRecursiveRLock fails if the writer asks for the lock between the two
// read locks of the reader.
func TestRecursiveRLock(t *testing.T)      { recursiveRLock(t, false) }
func TestRecursiveRLockFixed(t *testing.T) { recursiveRLock(t, true) }

func recursiveRLock(t *testing.T, fixed bool) {
	var mu sync.RWMutex
	names := []string{"ann", "bob"}
	count := func() int {
		if !fixed {
			mu.RLock()
			defer mu.RUnlock()
		}
		return len(names)
	}
	last := ""
	together(
		func() {
			mu.RLock()
			defer mu.RUnlock()
			last = names[count()-1]
		},
		func() {
			mu.Lock()
			defer mu.Unlock()
			names = append(names, "eve")
		},
	)
	if last == "" {
		t.Error("no name was read")
	}
}

// TestUpgrade fails if both goroutines find the value missing under the read
// lock before either one has the write lock.
func TestUpgrade(t *testing.T)      { upgrade(t, false) }
func TestUpgradeFixed(t *testing.T) { upgrade(t, true) }

func upgrade(t *testing.T, fixed bool) {
	var mu sync.RWMutex
	var value *int
	made := 0
	get := func() {
		mu.RLock()
		missing := value == nil
		mu.RUnlock()
		if !missing {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if fixed && value != nil {
			return
		}
		made++
		value = new(int)
	}
	together(get, get)
	if made != 1 {
		t.Errorf("the value was made %d times", made)
	}
}

// TestStampede fails if two requests miss before either one has filled the
// cache.
func TestStampede(t *testing.T)      { stampede(t, false) }
func TestStampedeFixed(t *testing.T) { stampede(t, true) }

func stampede(t *testing.T, fixed bool) {
	var mu sync.Mutex
	cache := map[int]chan int{}
	loads := map[int]int{}
	get := func(key int) {
		mu.Lock()
		c, there := cache[key]
		if fixed && !there {
			c = make(chan int, 1)
			cache[key] = c
			loads[key]++
			c <- key * key
		}
		mu.Unlock()
		if there || fixed {
			return
		}
		c = make(chan int, 1)
		c <- key * key // the slow part
		mu.Lock()
		loads[key]++
		cache[key] = c
		mu.Unlock()
	}
	client := func() {
		for key := range 3 {
			get(key)
		}
	}
	together(client, client)
	for key, n := range loads {
		if n > 1 {
			t.Errorf("key %d was loaded %d times", key, n)
		}
	}
}

// TestHandover fails if a request arrives after the old owner has let go and
// before the new one has begun.
func TestHandover(t *testing.T)      { handover(t, false) }
func TestHandoverFixed(t *testing.T) { handover(t, true) }

func handover(t *testing.T, fixed bool) {
	var mu sync.Mutex
	owner := "old"
	served := 0
	change := func(to string) {
		mu.Lock()
		owner = to
		mu.Unlock()
	}
	together(
		func() {
			if !fixed {
				change("")
			}
			change("new")
		},
		func() {
			for range 2 {
				mu.Lock()
				if owner != "" {
					served++
				}
				mu.Unlock()
			}
		},
	)
	if served != 2 {
		t.Errorf("%d of 2 requests were served", served)
	}
}

// TestLateWorker fails if a worker looks before the shutdown begins and
// registers after the shutdown has collected the workers.
func TestLateWorker(t *testing.T)      { lateWorker(t, false) }
func TestLateWorkerFixed(t *testing.T) { lateWorker(t, true) }

func lateWorker(t *testing.T, fixed bool) {
	var mu sync.Mutex
	stopping := false
	running := map[int]bool{}
	worker := func(id int) func() {
		return func() {
			mu.Lock()
			stop := stopping
			if fixed && !stop {
				running[id] = true
			}
			mu.Unlock()
			if !fixed && !stop {
				mu.Lock()
				running[id] = true
				mu.Unlock()
			}
		}
	}
	shutdown := func() {
		mu.Lock()
		defer mu.Unlock()
		stopping = true
		clear(running)
	}
	together(worker(1), worker(2), shutdown)
	// A worker that began before the shutdown was stopped by it, and no other
	// one may begin.
	if len(running) > 0 {
		t.Errorf("%d workers run after the shutdown", len(running))
	}
}

// TestReadersDisagree fails if one reader sees the first replica after its
// write, and then another reader sees the second replica before its write.
func TestReadersDisagree(t *testing.T)      { readersDisagree(t, false) }
func TestReadersDisagreeFixed(t *testing.T) { readersDisagree(t, true) }

func readersDisagree(t *testing.T, fixed bool) {
	var one, two account
	var writing sync.RWMutex
	write := func() {
		if fixed {
			writing.Lock()
			defer writing.Unlock()
		}
		one.write(1)
		two.write(1)
	}
	read := func(a *account) int {
		if fixed {
			writing.RLock()
			defer writing.RUnlock()
		}
		return a.read()
	}
	early, late := 0, 0
	together(write, func() {
		early = read(&one)
		late = read(&two)
	})
	if early > late {
		t.Errorf("a read gave %d, and a later one %d", early, late)
	}
}

// TestStaleOffset fails if the log is compacted and grows again between the
// reader's look at its length and the read.
func TestStaleOffset(t *testing.T)      { staleOffset(t, false) }
func TestStaleOffsetFixed(t *testing.T) { staleOffset(t, true) }

func staleOffset(t *testing.T, fixed bool) {
	var mu sync.Mutex
	log := []int{1, 2, 3}
	base := 0
	got := 0
	together(
		func() { // reads entry 3
			mu.Lock()
			i := 2 - base
			if !fixed {
				mu.Unlock()
				mu.Lock()
			}
			got = 3 // a reader behind the log would ask for a snapshot
			if i < len(log) {
				got = log[i]
			}
			mu.Unlock()
		},
		func() { // compacts
			mu.Lock()
			log, base = log[2:], base+2
			mu.Unlock()
		},
		func() { // appends
			for range 2 {
				mu.Lock()
				log = append(log, base+len(log)+1)
				mu.Unlock()
			}
		},
	)
	if got != 3 {
		t.Errorf("the reader got entry %d instead of 3", got)
	}
}
