// Package lock backs off longer and longer while another client holds the lock.
package lock

import (
	"math/rand"
	"time"

	"raftlab/y2025/kvsrv1/rpc"
	kvtest "raftlab/y2025/kvtest1"
)

const unlocked = "-"

// Lock is a lock.
type Lock struct {
	ck      kvtest.IKVClerk
	key     string
	owner   string
	version rpc.Tversion // of our entry
}

func MakeLock(ck kvtest.IKVClerk, l string) *Lock {
	return &Lock{ck: ck, key: l, owner: kvtest.RandValue(12)}
}

// Acquire returns when this client holds the lock.
func (lk *Lock) Acquire() {
	for limit := 5 * time.Millisecond; ; limit = min(2*limit, 100*time.Millisecond) {
		value, version, err := lk.ck.Get(lk.key)
		if err == rpc.ErrNoKey || value == unlocked {
			switch lk.ck.Put(lk.key, lk.owner, version) {
			case rpc.OK:
				lk.version = version + 1
				return
			case rpc.ErrMaybe:
				value, version, _ = lk.ck.Get(lk.key)
				if value == lk.owner {
					lk.version = version
					return
				}
			}
		}
		time.Sleep(time.Duration(rand.Int63n(int64(limit))))
	}
}

// Release puts one value. A Put without effect means that an earlier one had the effect.
func (lk *Lock) Release() {
	lk.ck.Put(lk.key, unlocked, lk.version)
}
