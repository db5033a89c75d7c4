package etcdapi

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/protobuf/proto"

	"raftlab/internal/auth"
	"raftlab/mvcc"
)

// invalidWatch is the id of a watch that was not created, and of a progress notification
// for all watches of a stream.
const invalidWatch = -1

// watchBatch is the size of the events from which on a response is closed, at the end of
// a transaction.
const watchBatch = 1 << 20

// maxWatches bounds the watches of a stream.
const maxWatches = 1 << 20

// watch is one watch of a stream. Only the stream's sender touches what is not marked.
type watch struct {
	stream   *watchStream
	id       int64
	key, end string // as in mvcc.RangeRequest

	who caller // who created the watch

	noPut, noDelete, prevKV bool
	fragment, progress      bool

	next int64 // first revision that was not looked at; set once by the hub
	idle bool  // nothing was sent since the last progress notification

	// stream.mu guards these.
	from       int64     // first revision of interest, 0 for none
	pending    int       // unsent events of interest, without those before the begin of the watch
	behind     time.Time // since when the watch has events of interest
	delivering bool      // the watch is one of stream.delivering
}

// watchStream is the watches of one client's stream. One goroutine receives requests,
// and one sends, so that a slow client holds up nobody else.
type watchStream struct {
	server   *Server
	stream   pb.Watch_WatchServer
	requests chan *pb.WatchRequest // from the receiver to the sender
	watches  map[int64]*watch
	nextID   int64
	progress bool        // the client has asked for the progress of all watches
	users    *auth.State // with which the watches were checked last

	mu         sync.Mutex
	marked     []*watch      // with events of interest
	delivering []*watch      // served by the sender, in this order
	wake       chan struct{} // has a token after a mark
}

// watchService is the service Watch.
type watchService struct {
	pb.UnimplementedWatchServer
	server *Server
}

// Watch implements pb.WatchServer.
func (ws *watchService) Watch(stream pb.Watch_WatchServer) error {
	w := &watchStream{
		server: ws.server, stream: stream, requests: make(chan *pb.WatchRequest),
		watches: make(map[int64]*watch), wake: make(chan struct{}, 1),
	}
	received := make(chan error, 1)
	ws.server.hub.open(w)
	defer ws.server.hub.close(w)
	ctx, cancel := context.WithCancel(stream.Context())
	go func() { received <- receive(ctx, stream.Recv, w.requests) }() // ends with the stream's context
	err := w.send(ctx, received)
	cancel()
	for _, one := range w.watches {
		ws.server.hub.remove(one)
	}
	if errors.Is(err, context.Canceled) {
		return rpctypes.ErrGRPCWatchCanceled
	}
	return err
}

// receive hands the requests of a client's stream to the goroutine that answers.
func receive[Request any](ctx context.Context, recv func() (Request, error), to chan<- Request) error {
	for {
		r, err := recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case to <- r:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// mark notes that events from a revision on are of interest to a watch, and the number of
// new events.
func (w *watchStream) mark(one *watch, revision int64, events int) {
	w.mu.Lock()
	one.pending += events
	if one.from == 0 {
		one.from = revision
		w.marked = append(w.marked, one)
		if !one.delivering {
			one.behind = time.Now()
		}
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// send answers requests and sends events until the stream ends.
func (w *watchStream) send(ctx context.Context, received <-chan error) error {
	interval := w.server.cfg.ProgressInterval
	// Clients that came back at the same time get their notifications at other times.
	ticks := time.NewTicker(interval + rand.N(interval/10+1))
	defer ticks.Stop()
	for {
		var err error
		select {
		case r := <-w.requests:
			err = w.handle(r)
		case <-w.wake:
			err = w.deliver()
		case <-ticks.C:
			err = w.notifyIdle()
		case err := <-received:
			if err != nil {
				return err
			}
			received = nil // the client sends nothing more, as over the JSON gateway, and listens on
		case <-ctx.Done():
			return ctx.Err()
		case <-w.server.serving.Done():
			return rpctypes.ErrGRPCStopped
		}
		if err == nil && w.progress {
			err = w.notifyAll()
		}
		if err != nil {
			return err
		}
	}
}

func (w *watchStream) handle(r *pb.WatchRequest) error {
	switch {
	case r.GetCreateRequest() != nil:
		return w.create(r.GetCreateRequest())
	case r.GetCancelRequest() != nil:
		return w.cancel(r.GetCancelRequest().WatchId)
	case r.GetProgressRequest() != nil:
		w.progress = true
	}
	return nil
}

// refusal returns why a watch is not created, "" if it is.
func (w *watchStream) refusal(r *pb.WatchCreateRequest) string {
	end := text(r.RangeEnd)
	switch {
	case r.StartRevision < 0:
		return rpctypes.ErrCompacted.Error()
	case end != "" && end != mvcc.FromKey && text(r.Key) >= end:
		return "mvcc: watcher range is empty"
	case r.WatchId != 0 && w.watches[r.WatchId] != nil:
		return "mvcc: watcher duplicate ID provided"
	case len(w.watches) >= maxWatches:
		return "etcdserver: too many watches on a stream"
	}
	return ""
}

// permit returns the caller of a new watch, if the caller may read the range.
func (w *watchStream) permit(key, end string) (caller, error) {
	p := w.server.picture()
	who, err := w.server.caller(w.stream.Context(), p)
	if err == nil && !who.own {
		err = p.auth.Permit(who.Identity, key, end, auth.Read)
	}
	return who, answer(err)
}

// recheck ends the watches whose callers may no longer read them, after a change of the
// users. A token that has expired ends no watch.
func (w *watchStream) recheck(users *auth.State) error {
	if w.users == users {
		return nil
	}
	w.users = users
	for _, one := range w.watches {
		now := auth.Identity{User: one.who.User, Revision: users.Revision()}
		if one.who.own || users.Permit(now, one.key, one.end, auth.Read) == nil {
			continue
		}
		w.drop(one)
		err := w.stream.Send(&pb.WatchResponse{
			Header: w.header(), WatchId: one.id, Canceled: true, CancelReason: rpctypes.ErrGRPCPermissionDenied.Error(),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *watchStream) create(r *pb.WatchCreateRequest) error {
	if len(r.Key) == 0 {
		r.Key = []byte{0}
	}
	reason := w.refusal(r)
	who, err := w.permit(text(r.Key), text(r.RangeEnd))
	if err != nil && reason == "" {
		reason = err.Error() // with the code, as etcd answers
	}
	if reason != "" {
		return w.stream.Send(&pb.WatchResponse{
			Header: w.header(), WatchId: invalidWatch, Created: true, Canceled: true, CancelReason: reason,
		})
	}
	one := &watch{
		stream: w, id: r.WatchId, key: string(r.Key), end: string(r.RangeEnd),
		prevKV: r.PrevKv, fragment: r.Fragment, progress: r.ProgressNotify, idle: true,
		noPut:    slices.Contains(r.Filters, pb.WatchCreateRequest_NOPUT),
		noDelete: slices.Contains(r.Filters, pb.WatchCreateRequest_NODELETE),
		next:     r.StartRevision,
		who:      who,
	}
	if one.id == 0 {
		for w.watches[w.nextID] != nil {
			w.nextID++
		}
		one.id = w.nextID
		w.nextID++
	}
	w.watches[one.id] = one
	revision := w.server.hub.add(one)
	return w.stream.Send(&pb.WatchResponse{Header: w.server.header(revision), WatchId: one.id, Created: true})
}

func (w *watchStream) header() *pb.ResponseHeader {
	return w.server.header(w.server.picture().view.Revision())
}

// drop ends a watch. No response for the watch follows.
func (w *watchStream) drop(one *watch) {
	w.server.hub.remove(one)
	delete(w.watches, one.id)
}

func (w *watchStream) cancel(id int64) error {
	one := w.watches[id]
	if one == nil {
		return nil
	}
	w.drop(one)
	return w.stream.Send(&pb.WatchResponse{Header: w.header(), WatchId: id, Canceled: true})
}

// deliver sends each marked watch one response. Watches with more events are marked
// again, so that one watch does not hold up the others and the requests.
func (w *watchStream) deliver() error {
	w.mu.Lock()
	marked := w.marked
	w.marked, w.delivering = nil, marked
	from := make([]int64, len(marked))
	pending := make([]int, len(marked))
	for i, one := range marked {
		from[i], one.from = one.from, 0
		pending[i], one.delivering = one.pending, true
	}
	w.mu.Unlock()
	p := w.server.picture()
	err := w.recheck(p.auth)
	if err != nil {
		return err
	}
	for i, one := range marked {
		complete := true
		if w.watches[one.id] == one { // else canceled
			var sent int
			if sent, complete, err = w.deliverTo(one, p.view, max(from[i], one.next)); err != nil {
				return err
			}
			if !complete {
				pending[i] = min(pending[i], sent)
			}
		}
		w.delivered(one, pending[i], complete)
	}
	return nil
}

// delivered notes that the sender has served the first watch in w.delivering.
func (w *watchStream) delivered(one *watch, events int, complete bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.delivering = w.delivering[1:]
	one.delivering = false
	one.pending -= events
	if complete {
		one.behind = time.Now() // for events since
	}
}

// deliverTo sends the events of a watch from a revision on. complete is false if more
// events remain.
func (w *watchStream) deliverTo(one *watch, view *mvcc.View, from int64) (sent int, complete bool, err error) {
	events, through, err := one.collect(view, from)
	if err != nil {
		w.drop(one)
		return 0, true, w.stream.Send(&pb.WatchResponse{
			Header: w.header(), WatchId: one.id, Canceled: true, CompactRevision: view.Compacted(),
		})
	}
	one.next = max(one.next, through+1)
	if complete = through >= view.Revision(); !complete {
		w.mark(one, one.next, 0)
	}
	if len(events) == 0 {
		return 0, complete, nil
	}
	one.idle = false
	w.server.counters.events.Add(int64(len(events)))
	return len(events), complete, w.sendEvents(one, &pb.WatchResponse{Header: w.server.header(through), WatchId: one.id, Events: events})
}

// collect returns the events of a watch from a revision on, and the revision through
// which the events are complete.
func (one *watch) collect(view *mvcc.View, from int64) (events []*mvccpb.Event, through int64, err error) {
	all, err := view.Events(from, view.Revision())
	if err != nil {
		return nil, 0, err
	}
	through = max(view.Revision(), from-1)
	size := 0
	var last int64 // revision of the last event
	for e := range all {
		if size >= watchBatch && e.KV.ModRevision != last {
			return events, e.KV.ModRevision - 1, nil
		}
		if one.end == "" && e.KV.Key != one.key || one.end != "" && !one.covers(e.KV.Key) {
			continue
		}
		if e.Deleted && one.noDelete || !e.Deleted && one.noPut {
			continue
		}
		to := toEvent(e)
		if one.prevKV {
			to.PrevKv = toKV(view.Prev(e))
			size += proto.Size(to.PrevKv)
		}
		last = e.KV.ModRevision
		size += len(e.KV.Key) + len(e.KV.Value) + 32
		events = append(events, to)
	}
	return events, through, nil
}

func toEvent(e mvcc.Event) *mvccpb.Event {
	to := &mvccpb.Event{Kv: toKV(e.KV)}
	if e.Deleted {
		to.Type = mvccpb.Event_DELETE
	}
	return to
}

// sendEvents sends a response, in fragments if the response is large and the client has
// asked for fragments.
func (w *watchStream) sendEvents(one *watch, r *pb.WatchResponse) error {
	limit := w.server.cfg.MaxRequestBytes + 512<<10
	if !one.fragment || proto.Size(r) < limit {
		return w.stream.Send(r)
	}
	for rest := r.Events; len(rest) > 0; {
		n, size := 0, 256
		for n < len(rest) && (n == 0 || size+proto.Size(rest[n])+16 < limit) {
			size += proto.Size(rest[n]) + 16
			n++
		}
		part := &pb.WatchResponse{Header: r.Header, WatchId: r.WatchId, Events: rest[:n]}
		rest = rest[n:]
		part.Fragment = len(rest) > 0
		if err := w.stream.Send(part); err != nil {
			return err
		}
	}
	return nil
}

// synced returns the revision through which all watches have their events, and whether
// there is such a revision now.
func (w *watchStream) synced() (revision int64, ok bool) {
	revision = w.server.hub.match()
	w.mu.Lock()
	defer w.mu.Unlock()
	return revision, len(w.marked) == 0
}

// notifyAll answers a request for progress as soon as all watches are synced.
func (w *watchStream) notifyAll() error {
	revision, ok := w.synced()
	if !ok {
		return nil // after the next delivery
	}
	w.progress = false
	return w.stream.Send(&pb.WatchResponse{Header: w.server.header(revision), WatchId: invalidWatch})
}

// notifyIdle sends the progress of the watches that have asked for notifications and had
// no event since the last tick.
func (w *watchStream) notifyIdle() error {
	revision, ok := w.synced()
	for _, one := range w.watches {
		if one.progress && one.idle && ok && one.next <= revision+1 {
			if err := w.stream.Send(&pb.WatchResponse{Header: w.server.header(revision), WatchId: one.id}); err != nil {
				return err
			}
		}
		one.idle = true
	}
	return nil
}
