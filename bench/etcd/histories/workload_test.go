//go:build linux

package histories

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

var quiet = zap.NewNop()

// prefix begins all keys of the workload.
const prefix = "k/"

const (
	keys         = 8
	patience     = 3 * time.Second // of a request
	pause        = 3 * time.Millisecond
	leaseSeconds = 2
)

// load is the clients of a cluster, and what they have seen.
type load struct {
	*cluster
	begin  time.Time
	stop   chan struct{}
	ctx    context.Context // of watches; ends after the check of their completeness
	cancel context.CancelFunc
	wg     sync.WaitGroup
	serial atomic.Int64

	mu         sync.Mutex
	operations []operation
	holds      []hold
	watchers   []*watcher
}

// newLoad starts clients: some of one member each, and some of all members.
func (c *cluster) newLoad(clients int) *load {
	l := &load{cluster: c, begin: time.Now(), stop: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.watch("history", "", 2)
	for i := range clients {
		members := c.members
		if i%2 == 0 {
			members = members[i/2%len(members):][:1]
		}
		l.wg.Go(func() { l.work(i, c.client(members...)) })
	}
	l.wg.Go(func() { l.lease(c.client(c.members...)) })
	return l
}

func (l *load) now() int64 { return int64(time.Since(l.begin)) }

func (l *load) stopped() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

// end stops the clients, and waits for the requests under way.
func (l *load) end() {
	close(l.stop)
	l.wg.Wait()
}

func (l *load) add(o operation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.operations = append(l.operations, o)
}

// work sends requests, one at a time.
func (l *load) work(client int, cli *clientv3.Client) {
	defer cli.Close()
	for !l.stopped() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		o := operation{client: client}
		key := fmt.Sprintf("%s%d", prefix, rand.IntN(keys))
		switch n := rand.IntN(10); {
		case n < 3:
			l.put(ctx, cli, &o, key)
		case n < 5:
			l.get(ctx, cli, &o, false)
		case n < 6:
			l.get(ctx, cli, &o, true)
		case n < 7:
			l.delete(ctx, cli, &o, key)
		default:
			l.txn(ctx, cli, &o, key)
		}
		cancel()
		time.Sleep(time.Duration(rand.Int64N(int64(2 * pause))))
	}
}

func (l *load) value() string { return fmt.Sprint("v", l.serial.Add(1)) }

// answered completes an operation. A refused request has changed nothing.
func (l *load) answered(o *operation, err error, header func() int64) {
	o.ret = l.now()
	if o.known = err == nil; o.known {
		o.revision = header()
	} else if o.read || refused(err) {
		return
	}
	l.add(*o)
}

// refused reports whether an error says that the request had no effect.
func refused(err error) bool {
	return errors.Is(err, rpctypes.ErrLeaseNotFound) || errors.Is(err, rpctypes.ErrNoSpace)
}

func (l *load) put(ctx context.Context, cli *clientv3.Client, o *operation, key string) {
	o.kind, o.changes = "put", []change{{key: key, value: l.value()}}
	o.call = l.now()
	r, err := cli.Put(ctx, key, o.changes[0].value, clientv3.WithPrevKV())
	if err == nil && r.PrevKv != nil {
		o.prev = pairs(r.PrevKv)
	}
	l.answered(o, err, func() int64 { return r.Header.Revision })
}

func (l *load) get(ctx context.Context, cli *clientv3.Client, o *operation, stale bool) {
	o.kind, o.read, o.stale = "get", true, stale
	opts := []clientv3.OpOption{clientv3.WithFromKey()}
	if stale {
		o.kind = "stale get"
		opts = append(opts, clientv3.WithSerializable())
	}
	o.call = l.now()
	r, err := cli.Get(ctx, "\x00", opts...)
	if err == nil {
		o.pairs = pairs(r.Kvs...)
	}
	l.answered(o, err, func() int64 { return r.Header.Revision })
}

func pairs(kvs ...*mvccpb.KeyValue) (all []pair) {
	for _, kv := range kvs {
		all = append(all, pair{string(kv.Key), string(kv.Value), kv.ModRevision})
	}
	return all
}

func (l *load) delete(ctx context.Context, cli *clientv3.Client, o *operation, key string) {
	o.kind, o.changes = "delete", []change{{key: key, deleted: true}}
	o.call = l.now()
	r, err := cli.Delete(ctx, key, clientv3.WithPrevKV())
	if err == nil {
		if r.Deleted == 0 {
			o.changes = nil
		}
		o.prev = pairs(r.PrevKvs...)
	}
	l.answered(o, err, func() int64 { return r.Header.Revision })
}

// txn reads a key, and writes two keys if the first one has not changed.
func (l *load) txn(ctx context.Context, cli *clientv3.Client, o *operation, key string) {
	r, err := cli.Get(ctx, key)
	if err != nil {
		return
	}
	mod := int64(0)
	if len(r.Kvs) > 0 {
		mod = r.Kvs[0].ModRevision
	}
	other := fmt.Sprint(prefix, "t", rand.IntN(keys))
	o.kind, o.changes = "txn", []change{{key: key, value: l.value()}, {key: other, value: l.value()}}
	o.call = l.now()
	done, err := cli.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", mod)).
		Then(clientv3.OpPut(key, o.changes[0].value), clientv3.OpPut(other, o.changes[1].value)).
		Else(clientv3.OpGet("\x00", clientv3.WithFromKey())).Commit()
	if err == nil && !done.Succeeded {
		o.changes, o.read = nil, true
		o.pairs = pairs(done.Responses[0].GetResponseRange().Kvs...)
	}
	l.answered(o, err, func() int64 { return done.Header.Revision })
}

// lease grants leases with a key each, renews them for a while, and lets them end.
func (l *load) lease(cli *clientv3.Client) {
	defer cli.Close()
	var held sync.WaitGroup
	for !l.stopped() {
		held.Go(func() { l.hold(cli) })
		time.Sleep(400 * time.Millisecond)
	}
	held.Wait()
}

// hold is the life of one lease.
func (l *load) hold(cli *clientv3.Client) {
	call := l.now()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	granted, err := cli.Grant(ctx, leaseSeconds)
	if err != nil {
		return
	}
	h := hold{lease: int64(granted.ID), ttl: time.Duration(granted.TTL) * time.Second, renewed: call}
	o := operation{kind: "leased put", client: -1}
	h.key = prefix + "l" + l.value()
	o.changes = []change{{key: h.key, value: l.value()}}
	o.call = l.now()
	r, err := cli.Put(ctx, h.key, o.changes[0].value, clientv3.WithLease(granted.ID))
	l.answered(&o, err, func() int64 { return r.Header.Revision })
	for range rand.IntN(8) {
		time.Sleep(300 * time.Millisecond)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		call := l.now()
		_, err := cli.KeepAliveOnce(ctx, granted.ID)
		cancel()
		if errors.Is(err, rpctypes.ErrLeaseNotFound) {
			h.gone = l.now()
			break
		}
		if err == nil {
			h.renewed = call
		}
	}
	if h.gone == 0 && rand.IntN(4) == 0 {
		h.revoked = true
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		_, _ = cli.Revoke(ctx, granted.ID) // it may have an effect later
		cancel()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holds = append(l.holds, h)
}

// watcher is a watch that the client resumes by itself.
type watcher struct {
	mu sync.Mutex
	watched
	reached int64 // revision up to which all events have arrived
	failed  error
	resumed int // streams that the watcher has opened again by itself
}

// watch starts a watch of a prefix. The client has all members, in any order.
func (l *load) watch(name, prefix string, from int64) *watcher {
	w := &watcher{watched: watched{name: name, prefix: prefix, from: from}, reached: from - 1}
	l.mu.Lock()
	l.watchers = append(l.watchers, w)
	l.mu.Unlock()
	go func() {
		for l.ctx.Err() == nil && w.failed == nil {
			cli := l.client(l.members...)
			l.follow(cli, w)
			cli.Close()
		}
	}()
	return w
}

// follow collects events until the watch fails. It goes on where the watcher stands.
func (l *load) follow(cli *clientv3.Client, w *watcher) {
	opts := []clientv3.OpOption{clientv3.WithRev(w.reached + 1), clientv3.WithProgressNotify(), clientv3.WithFragment()}
	key := w.prefix
	if key == "" {
		key = "\x00"
		opts = append(opts, clientv3.WithFromKey())
	} else {
		opts = append(opts, clientv3.WithPrefix())
	}
	for r := range cli.Watch(clientv3.WithRequireLeader(l.ctx), key, opts...) {
		w.mu.Lock()
		for _, e := range r.Events {
			w.events = append(w.events, event{
				revision: e.Kv.ModRevision, key: string(e.Kv.Key), value: string(e.Kv.Value), deleted: e.Type == clientv3.EventTypeDelete,
				create: e.Kv.CreateRevision, version: e.Kv.Version, lease: e.Kv.Lease, at: l.now(),
			})
		}
		switch err := r.Err(); {
		case errors.Is(err, rpctypes.ErrCompacted):
			w.failed = fmt.Errorf("%s at %d: compacted at %d", w.name, w.reached, r.CompactRevision)
		case err != nil:
			w.resumed++
		case len(r.Events) > 0 && !r.IsProgressNotify():
			// The revision of the header may be above that of the last event, and its
			// events may be still to come.
			w.reached = max(w.reached, r.Events[len(r.Events)-1].Kv.ModRevision)
		}
		w.mu.Unlock()
	}
}

// standing returns the revision that a watcher has reached, and why it has failed.
func (w *watcher) standing() (int64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reached, w.failed
}

func contains(s, part string) bool { return strings.Contains(s, part) }
