package script

import (
	"fmt"
	"strings"

	"raftlab/raft/core"
)

// link selects messages: "1->2", "1->", "->2", all of them, or with "#N" the N-th one.
type link struct {
	from, to core.NodeID // None for all
	nth      int         // from 1, 0 for all
}

func (w *World) link(args []string) (link, error) {
	if len(args) == 0 {
		return link{}, nil
	}
	if len(args) > 1 {
		return link{}, fmt.Errorf("%w: %q behind the link", ErrCommand, args[1:])
	}
	var l link
	ends, nth, numbered := strings.Cut(args[0], "#")
	if numbered {
		n, err := number(nth, maxInFlight)
		if err != nil {
			return link{}, err
		}
		if n == 0 {
			return link{}, fmt.Errorf("%w: messages of a link are numbered from 1", ErrArgument)
		}
		l.nth = n
	}
	from, to, ok := strings.Cut(ends, "->")
	if !ok && ends != "" {
		return link{}, fmt.Errorf("%w: %q is no link", ErrArgument, args[0])
	}
	var err error
	if l.from, err = w.end(from); err != nil {
		return link{}, err
	}
	if l.to, err = w.end(to); err != nil {
		return link{}, err
	}
	if from == to && from != "" {
		return link{}, fmt.Errorf("%w: server %s sends nothing to itself", ErrArgument, from)
	}
	return l, nil
}

// end returns one end of a link, None for an empty word.
func (w *World) end(word string) (core.NodeID, error) {
	if word == "" {
		return core.None, nil
	}
	return w.id(word)
}

func (l link) has(m core.Message) bool {
	return (l.from == core.None || l.from == m.From) && (l.to == core.None || l.to == m.To)
}

// messages does something to the messages of a link among those of the pool now. pool
// returns the present messages, of which do takes one away or leaves the i-th.
func (w *World) messages(args []string, pool func() []core.Message, do func(i int)) error {
	l, err := w.link(args)
	if err != nil {
		return err
	}
	i, found := 0, 0
	for range pool() {
		before := pool()
		if !l.has(before[i]) {
			i++
			continue
		}
		if found++; l.nth > 0 && found != l.nth {
			i++
			continue
		}
		if do(i); l.nth > 0 {
			return nil
		}
		if len(pool()) >= len(before) {
			i++ // the message stayed
		}
	}
	if found == 0 || l.nth > 0 {
		return fmt.Errorf("%w: %v of %v", ErrNoMessage, args, pool())
	}
	return nil
}

func (w *World) deliver(args []string) error {
	return w.messages(args, w.cluster.InFlight, w.cluster.Deliver)
}

func (w *World) drop(args []string) error {
	return w.messages(args, w.cluster.InFlight, w.cluster.Drop)
}

func (w *World) repeat(args []string) error {
	return w.messages(args, w.cluster.InFlight, func(i int) {
		w.printf("repeated: %v", w.cluster.InFlight()[i])
		w.cluster.Duplicate(i)
	})
}

// reorder puts messages behind all others.
func (w *World) reorder(args []string) error {
	l, err := w.link(args)
	if err != nil {
		return err
	}
	i, found := 0, 0
	for range w.cluster.InFlight() {
		m := w.cluster.InFlight()[i]
		if l.has(m) {
			found++
		}
		if !l.has(m) || l.nth > 0 && found != l.nth {
			i++
			continue
		}
		w.printf("goes behind the others: %v", m)
		if w.cluster.Requeue(i); l.nth > 0 {
			return nil
		}
	}
	if found == 0 || l.nth > 0 {
		return fmt.Errorf("%w: %v of %v", ErrNoMessage, args, w.cluster.InFlight())
	}
	return nil
}

func (w *World) delay(args []string) error {
	return w.messages(args, w.cluster.InFlight, func(i int) {
		w.printf("delayed: %v", w.cluster.InFlight()[i])
		w.cluster.Delay(i)
	})
}

func (w *World) release(args []string) error {
	return w.messages(args, w.cluster.Delayed, func(i int) {
		w.printf("goes on: %v", w.cluster.Delayed()[i])
		w.cluster.Resend(i)
	})
}

// partition 1 | 2 3
func (w *World) partition(args []string) error {
	groups := [][]core.NodeID{nil}
	for _, word := range args {
		if word == "|" {
			groups = append(groups, nil)
			continue
		}
		ids, err := w.ids(word)
		if err != nil {
			return err
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], ids...)
	}
	w.cluster.Partition(groups...)
	return nil
}

// cut 1->2
func (w *World) cut(args []string) error {
	l, err := w.link(args)
	switch {
	case err != nil:
		return err
	case l.from == core.None || l.to == core.None || l.nth > 0:
		return fmt.Errorf("%w: %q is not a link from one server to another", ErrArgument, args[0])
	}
	w.cluster.Cut(l.from, l.to)
	return nil
}

func (w *World) inflight([]string) error {
	for _, m := range w.cluster.InFlight() {
		w.printf("%v", m)
	}
	for _, m := range w.cluster.Delayed() {
		w.printf("delayed: %v", m)
	}
	return nil
}
