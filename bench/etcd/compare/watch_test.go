package compare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// watchStream is a stream of watches, with all that the stream has answered.
type watchStream struct {
	stream pb.Watch_WatchClient
	cancel context.CancelFunc

	mu      sync.Mutex
	arrived chan struct{} // replaced and closed by the next message
	// created are the answers to requests for watches, canceled the ends of watches, and
	// events those of each watch.
	created  []string
	canceled map[int64][]string
	events   map[int64][]string
	progress int64 // the revision of the last progress notification for the stream
	latest   int64 // the highest first revision of a watch
	err      error // of the end
}

// idle reports whether the stream has no watch.
func (w *watchStream) idle() bool {
	live := 0
	for _, text := range w.created {
		if !strings.Contains(text, "canceled") {
			live++
		}
	}
	for _, all := range w.canceled {
		live -= len(all)
	}
	return live == 0
}

// open returns the stream of a name, which the first use opens.
func (s *side) open(name, user string) (*watchStream, error) {
	if w := s.streams[name]; w != nil {
		return w, nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	if token := s.tokens[user]; token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, rpctypes.TokenFieldNameGRPC, token)
	}
	stream, err := pb.NewWatchClient(s.conn).Watch(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	w := &watchStream{stream: stream, cancel: cancel, arrived: make(chan struct{}), canceled: map[int64][]string{}, events: map[int64][]string{}}
	s.streams[name] = w
	go w.receive(s, s.base)
	return w, nil
}

// receive ends with the stream.
func (w *watchStream) receive(s *side, base int64) {
	names := &side{base: base, member: s.member, granted: slices.Clone(s.granted)}
	for {
		r, err := w.stream.Recv()
		w.mu.Lock()
		if err != nil {
			w.err = err
		} else {
			w.take(names, r)
		}
		close(w.arrived)
		w.arrived = make(chan struct{})
		w.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (w *watchStream) take(names *side, r *pb.WatchResponse) {
	switch {
	case r.Created:
		w.created = append(w.created, names.text(r.ProtoReflect()))
	case r.Canceled:
		if r.CompactRevision != 0 {
			r.Header = nil // the revision is that of the time
		}
		w.canceled[r.WatchId] = append(w.canceled[r.WatchId], names.text(r.ProtoReflect()))
	case r.WatchId == -1 && len(r.Events) == 0:
		w.progress = r.Header.Revision
	}
	// The split of events over messages, and the revision in the header of a message, depend
	// on the time of the watch.
	for _, e := range r.Events {
		w.events[r.WatchId] = append(w.events[r.WatchId], names.text(e.ProtoReflect()))
	}
}

// await waits until done, and reports false if the stream has ended.
func (w *watchStream) await(done func() bool, limit time.Duration) bool {
	timeout := time.After(limit)
	for {
		w.mu.Lock()
		ok, ended, next := done(), w.err != nil, w.arrived
		w.mu.Unlock()
		if ok || ended {
			return ok
		}
		select {
		case <-next:
		case <-timeout:
			return false
		}
	}
}

// watchStep is a request in a stream of watches. The answer is the control message.
type watchStep struct {
	stream, user string
	in           *pb.WatchRequest
}

func (w watchStep) String() string {
	text := "Watch(" + w.stream + ")" + printer.text(w.in.ProtoReflect())
	if w.user != "" {
		text += " as " + w.user
	}
	return text
}

func (w watchStep) message() proto.Message { return w.in }

func (w watchStep) with(m proto.Message) request {
	w.in = m.(*pb.WatchRequest)
	return w
}

// send implements request.
func (w watchStep) send(s *side) string {
	stream, err := s.open(w.stream, w.user)
	if err != nil {
		return errorText(err)
	}
	stream.mu.Lock()
	created := len(stream.created)
	stream.mu.Unlock()
	in := s.resolve(w.in).(*pb.WatchRequest)
	stream.latest = max(stream.latest, in.GetCreateRequest().GetStartRevision())
	if err := stream.stream.Send(in); err != nil && !errors.Is(err, io.EOF) {
		return errorText(err)
	}
	switch {
	case w.in.GetCreateRequest() != nil:
		stream.await(func() bool { return len(stream.created) > created }, patience)
		stream.mu.Lock()
		defer stream.mu.Unlock()
		return strings.Join(append(slices.Clone(stream.created[created:]), stream.end()), " ")
	case w.in.GetCancelRequest() != nil: // nothing answers the cancellation of an unknown watch
		id := w.in.GetCancelRequest().WatchId
		stream.await(func() bool { return len(stream.canceled[id]) > 0 }, 50*time.Millisecond)
	}
	return "sent"
}

// end returns the error of a stream that has ended.
func (w *watchStream) end() string {
	if w.err == nil {
		return ""
	}
	return "the end: " + errorText(w.err)
}

// watched waits until all watches of all streams have all events, and returns the events.
type watched struct{}

func (watched) String() string               { return "all events of all watches" }
func (watched) message() proto.Message       { return nil }
func (w watched) with(proto.Message) request { return w }

// send implements request.
func (watched) send(s *side) string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(s.streams)) {
		lines = append(lines, name+": "+s.streams[name].settle(s))
	}
	return strings.Join(lines, "\n")
}

// settle waits for a progress notification of the current revision, which says that all
// watches of the stream have all events. etcd sends none to a stream without watches, or with
// a watch of a future revision. Such a stream has some time.
func (w *watchStream) settle(s *side) string {
	revision, err := s.revisionNow()
	if err != nil {
		return err.Error()
	}
	request := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}
	attempts := 30
	if w.latest > revision {
		attempts = 3
	}
	for range attempts {
		_ = w.stream.Send(request)
		if w.await(func() bool { return w.progress >= revision || w.idle() || w.err != nil }, 60*time.Millisecond) {
			break
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	lines := []string{w.end()}
	for _, id := range slices.Sorted(maps.Keys(w.canceled)) {
		lines = append(lines, fmt.Sprintf("watch %d canceled: %s", id, strings.Join(w.canceled[id], " ")))
	}
	for _, id := range slices.Sorted(maps.Keys(w.events)) {
		lines = append(lines, fmt.Sprintf("watch %d: %s", id, strings.Join(w.events[id], " ")))
	}
	return strings.Join(lines, "\n  ")
}

// revisionNow returns the current revision. A user without permission gets the revision of
// a header.
func (s *side) revisionNow() (int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	m, err := pb.NewMaintenanceClient(s.conn).Status(ctx, &pb.StatusRequest{})
	if err != nil {
		return 0, err
	}
	return m.Header.Revision, nil
}
