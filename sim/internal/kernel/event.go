package kernel

// An event happens at a moment of virtual time.
type event struct {
	at  int64
	seq uint64
	do  func(k *kernel)
}

// events is a heap. Events of one moment happen in the order of their making.
type events struct {
	heap []event
	made uint64
	set  int64 // the moment for which the runtime's timer is set
}

func (e *events) before(i, j int) bool {
	a, b := &e.heap[i], &e.heap[j]
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}

// at makes an event.
func (k *kernel) at(when int64, do func(k *kernel)) {
	e := &k.events
	e.made++
	e.heap = append(e.heap, event{when, e.made, do})
	for i := len(e.heap) - 1; i > 0; {
		up := (i - 1) / 2
		if !e.before(i, up) {
			break
		}
		e.heap[i], e.heap[up] = e.heap[up], e.heap[i]
		i = up
	}
}

func (e *events) pop() event {
	first := e.heap[0]
	last := len(e.heap) - 1
	e.heap[0], e.heap[last] = e.heap[last], event{}
	e.heap = e.heap[:last]
	for i := 0; ; {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < last && e.before(child, least) {
				least = child
			}
		}
		if least == i {
			return first
		}
		e.heap[i], e.heap[least] = e.heap[least], e.heap[i]
		i = least
	}
}

// run carries out the due events.
func (k *kernel) run() {
	now := k.host.Now()
	for len(k.events.heap) > 0 && k.events.heap[0].at <= now {
		k.events.pop().do(k)
	}
}

// arm sets the runtime's timer for the next event.
func (k *kernel) arm() {
	e := &k.events
	next := int64(0)
	if len(e.heap) > 0 {
		next = e.heap[0].at
	}
	// A fired timer is not set any more.
	if e.set != 0 && e.set <= k.host.Now() {
		e.set = 0
	}
	if next != e.set {
		e.set = next
		k.host.Timer(next)
	}
}
