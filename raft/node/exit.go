package node

import (
	"fmt"
	"runtime/debug"
)

// The storage, the transport and the functions of a [Trace] are code of others on the
// host's goroutines, or on those of proposers. A call of runtime.Goexit there, for example
// by FailNow of a test, ends the goroutine in the middle of its work. The goroutine's
// deferred functions then stop the host, so that nobody waits for the rest of the work.
// They do the same for a panic, and do not recover. If another function up the stack
// recovers, as HTTP servers do, the host has stopped.

// ExitError is the reason for the stop of a host if the storage, the transport or a
// function of [Trace] has ended a goroutine, by runtime.Goexit or by a panic.
type ExitError struct {
	Stack []byte // of the goroutine
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("raft: the storage, the transport or a function of Trace has ended a goroutine, by runtime.Goexit or by a panic:\n%s", e.Stack)
}

// exit stops the host. A function that a goroutine has deferred calls exit.
func (h *Host) exit() error {
	err := &ExitError{Stack: debug.Stack()}
	h.exited.Store(true)
	h.workers.add(&failTask{h, err})
	return err
}

// failTask stops the host on a goroutine of its own kind. The goroutine that ends may have
// to end a group first.
type failTask struct {
	host *Host
	err  error
}

func (t *failTask) run() { t.host.fail(t.err) }

// aborted ends a member in the middle of a round of the core. The state of the core is not
// used any more. applies reports that the applier has been given work and no goroutine.
// The caller has the baton.
func (n *Node) aborted(applies bool) {
	if applies || n.applies {
		n.applies = false
		n.host.appliers.add((*applyTask)(n))
	}
	if n.beginning && n.saving != nil { // the saver does not get the save
		n.storing.Done()
	}
	n.stop(n.host.exit())
	n.mu.Lock()
	in := &n.current
	for _, p := range in.proposals {
		if p != nil {
			n.inbox.proposals = append(n.inbox.proposals, p)
		}
	}
	n.inbox.reads = append(n.inbox.reads, in.reads...)
	for _, f := range in.calls {
		if f != nil {
			n.inbox.calls = append(n.inbox.calls, f)
		}
	}
	n.current = inbox{}
	n.mu.Unlock()
	n.clean()
	n.mu.Lock()
	n.running = false
	n.mu.Unlock()
}

// exit stops the member if a method of the state machine has ended the goroutine, and else
// the host. A function that a goroutine has deferred calls exit.
func (n *Node) exit() {
	if failure := n.exited.Load(); failure != nil {
		n.stop(failure)
		return
	}
	_ = n.host.exit()
}

// mustReturn runs a task with code of others, and calls exit if the goroutine ends there.
func (n *Node) mustReturn(task func()) {
	returned := false
	defer func() {
		if !returned {
			n.exit()
		}
	}()
	task()
	returned = true
}
