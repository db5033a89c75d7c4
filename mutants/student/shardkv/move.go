//lab:solution

package shardkv

import (
	"sync"
	"time"
)

// interval is the pause between two looks at the controller, and between two attempts to
// deliver a shard.
const interval = 50 * time.Millisecond

// pause waits for the interval, and reports whether the server still runs.
func (kv *ShardKV) pause() bool {
	select {
	case <-time.After(interval):
		return true
	case <-kv.Killed():
		return false
	}
}

// follow begins the configurations one after another. The leader waits until all shards
// of a configuration have arrived.
func (kv *ShardKV) follow() {
	for kv.pause() {
		if !kv.Leads() {
			continue
		}
		num, complete := 0, false
		kv.Look(func() { num, complete = kv.config.Num+1, len(kv.waits) == 0 })
		if !complete {
			continue
		}
		if next := kv.ctl.Query(num); next.Num == num {
			kv.Submit(Reconfigure{next})
		}
	}
}

// deliver sends shards to their new groups until these have them.
func (kv *ShardKV) deliver() {
	for kv.pause() {
		if !kv.Leads() {
			continue
		}
		var sending []Transfer
		kv.Look(func() { sending = append(sending, kv.sending...) })
		var wg sync.WaitGroup
		for _, t := range sending {
			wg.Go(func() {
				if kv.send(t) {
					kv.Submit(Delivered{t.Num, t.Index})
				}
			})
		}
		wg.Wait()
	}
}

// send asks one server of the new group after another to take a shard.
func (kv *ShardKV) send(t Transfer) bool {
	for _, name := range t.To {
		var reply TransferReply
		if kv.makeEnd(name).Call("ShardKV.Receive", &t, &reply) && reply.Err == OK {
			return true
		}
	}
	return false
}

// Receive handles a Transfer.
func (kv *ShardKV) Receive(t *Transfer, reply *TransferReply) {
	var err Err
	kv.Look(func() { err = kv.ready(t.Num) })
	if reply.Err = err; err != OK {
		return
	}
	reply.Err = ErrWrongLeader
	if err, ok := kv.Submit(*t); ok {
		reply.Err = err.(Err)
	}
}

// ready reports whether this server has come to a configuration.
func (kv *ShardKV) ready(num int) Err {
	if num > kv.config.Num {
		return ErrNotReady
	}
	return OK
}
