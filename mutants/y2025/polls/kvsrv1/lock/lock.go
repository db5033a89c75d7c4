// Package lock polls the key of a lock. The value is the id of the holder.
package lock

import (
	"time"

	"raftlab/y2025/kvsrv1/rpc"
	kvtest "raftlab/y2025/kvtest1"
)

type Lock struct {
	ck   kvtest.IKVClerk
	name string
	me   string
}

func MakeLock(ck kvtest.IKVClerk, l string) *Lock {
	return &Lock{ck: ck, name: l, me: kvtest.RandValue(8)}
}

func (lk *Lock) Acquire() {
	for {
		value, version, err := lk.ck.Get(lk.name)
		if err == rpc.OK && value == lk.me {
			return
		}
		if err == rpc.ErrNoKey || value == "" {
			if lk.ck.Put(lk.name, lk.me, version) == rpc.OK {
				return
			}
			continue
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (lk *Lock) Release() {
	for {
		value, version, err := lk.ck.Get(lk.name)
		if err != rpc.OK || value != lk.me {
			return
		}
		if lk.ck.Put(lk.name, "", version) == rpc.OK {
			return
		}
	}
}
