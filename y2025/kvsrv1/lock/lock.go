// Package lock has locks for clients of a key/value service.
package lock

import (
	"time"

	"raftlab/y2025/kvsrv1/rpc"
	kvtest "raftlab/y2025/kvtest1"
)

const (
	// free is the value of a lock that nobody holds.
	free = ""
	// idLength makes two equal ids unlikely.
	idLength = 16
	// pollInterval is the time between two looks at a lock that another client holds.
	pollInterval = 10 * time.Millisecond
)

// Lock is one client's handle of a lock. The value of the lock's key is the id of the
// holder. One goroutine at a time may call the methods.
type Lock struct {
	ck  kvtest.IKVClerk
	key string
	id  string
}

// MakeLock returns a handle of the lock l, for a client with the clerk ck.
func MakeLock(ck kvtest.IKVClerk, l string) *Lock {
	return &Lock{ck: ck, key: l, id: kvtest.RandValue(idLength)}
}

// Acquire waits until the client holds the lock.
func (lk *Lock) Acquire() {
	for {
		holder, version, err := lk.ck.Get(lk.key)
		switch {
		case err == rpc.OK && holder == lk.id:
			return // by a Put with the outcome ErrMaybe
		case err == rpc.ErrNoKey || holder == free:
			if lk.ck.Put(lk.key, lk.id, version) == rpc.OK {
				return
			}
		default:
			time.Sleep(pollInterval)
		}
	}
}

// Release gives the lock up. Release does nothing if the client does not hold the
// lock.
func (lk *Lock) Release() {
	for {
		holder, version, err := lk.ck.Get(lk.key)
		if err != rpc.OK || holder != lk.id || lk.ck.Put(lk.key, free, version) == rpc.OK {
			return
		}
	}
}
