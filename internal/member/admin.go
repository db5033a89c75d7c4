//go:build !wasip1

package member

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"raftlab/internal/cluster"
	"raftlab/internal/etcdapi"
	"raftlab/internal/httpkv"
	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/tcp"
)

// errNoAdmin is the refusal of a change of a member that runs without Options.Admin.
var errNoAdmin = &httpkv.Error{Status: http.StatusForbidden, Code: httpkv.NeedsAdmin, Message: "the member takes no changes from people; start it with --admin"}

// controlPath begins the methods of the service Control, by which the members pass
// operators' wishes on.
const controlPath = "/raftlab.member.Control/"

// Methods of the service Control.
const (
	methodChange = controlPath + "Change"
	methodState  = controlPath + "State"
)

// registerControl registers the service for the other members.
func (m *Member) registerControl(g *grpc.Server) {
	g.RegisterService(&grpc.ServiceDesc{
		ServiceName: "raftlab.member.Control",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			{MethodName: "Change", Handler: handleChange},
			{MethodName: "State", Handler: handleState},
		},
	}, m)
}

// handleChange begins a change. The answer does not wait for the end, which takes the
// connection away.
func handleChange(m any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	verb := new(wrapperspb.StringValue)
	if err := decode(verb); err != nil {
		return nil, err
	}
	if _, err := m.(*Member).begin(ctx, verb.Value); err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	return &emptypb.Empty{}, nil
}

func handleState(m any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	if err := decode(new(emptypb.Empty)); err != nil {
		return nil, err
	}
	return wrapperspb.String(m.(*Member).state()), nil
}

// state returns stopped, disconnected or running, and unreachable while the port for the
// other members is closed between a stop and a start.
func (m *Member) state() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.stopped && m.lobby == nil:
		return "unreachable"
	case m.stopped:
		return "stopped"
	case m.engine.link.cut.Load():
		return "disconnected"
	}
	return "running"
}

// begin begins a change of this member: stop, start, disconnect or connect. The channel
// gets the outcome.
func (m *Member) begin(ctx context.Context, verb string) (<-chan error, error) {
	if !m.opts.Admin {
		return nil, errNoAdmin
	}
	ctx, cancel := context.WithTimeout(ctx, turnTimeout)
	defer cancel()
	select {
	case m.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, &httpkv.Error{Status: http.StatusConflict, Code: httpkv.ReplicaState, Message: m.opts.Name + " is being changed or closed already"}
	}
	e := m.last()
	stopped, cut := m.current() == nil, e.link.cut.Load()
	var err error
	switch verb {
	case "stop":
		err = unless(!stopped, cluster.ErrStopped)
	case "start":
		err = unless(stopped, cluster.ErrRunning)
	case "disconnect":
		err = errors.Join(unless(!stopped, cluster.ErrStopped), unless(!cut, cluster.ErrDisconnected))
	case "connect":
		err = errors.Join(unless(!stopped, cluster.ErrStopped), unless(cut, cluster.ErrConnected))
	default:
		err = fmt.Errorf("%q is no change of a member; want stop, start, disconnect or connect", verb)
	}
	if err != nil {
		<-m.turn
		return nil, err
	}
	m.log.Warn("an operator changes this member", "change", verb)
	outcome := make(chan error, 1)
	m.running.Go(func() {
		var err error
		switch verb {
		case "stop":
			err = m.suspend()
		case "start":
			err = m.resume()
		default:
			e.link.set(verb == "disconnect")
		}
		<-m.turn
		outcome <- err
		if err != nil {
			m.fail(fmt.Errorf("%s by an operator: %w", verb, err))
		}
	})
	return outcome, nil
}

func unless(ok bool, err error) error {
	if ok {
		return nil
	}
	return err
}

// suspend closes the engine. The process and the ports for clients stay.
func (m *Member) suspend() error {
	e, members := m.last(), m.remember()
	m.mu.Lock()
	m.stopped, m.members = true, members
	m.mu.Unlock()
	identity := e.host.Identity()
	if err := e.close(); err != nil {
		m.log.Warn("stopping the member", "error", err)
	}
	l, err := m.openLobby(identity)
	m.mu.Lock()
	m.lobby = l
	m.mu.Unlock()
	return err
}

// remember returns the members as the pages of a stopped member show them.
func (m *Member) remember() []etcdapi.MemberPicture {
	ctx, cancel := context.WithTimeout(context.Background(), changeTimeout)
	defer cancel()
	members, err := m.Server().Survey(ctx)
	if err != nil {
		m.log.Warn("the stopped member will not know the others", "error", err)
		members = []etcdapi.MemberPicture{{ID: m.Server().Node().ID(), Name: m.opts.Name, Self: true}}
	}
	for i := range members {
		members[i].Err = errStopped
	}
	return members
}

// remembered returns the members of the last stop.
func (m *Member) remembered() []etcdapi.MemberPicture {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.members)
}

// resume opens a new engine.
func (m *Member) resume() error {
	m.mu.Lock()
	l := m.lobby
	m.lobby = nil
	m.mu.Unlock()
	if err := l.close(); err != nil {
		return err
	}
	e, err := m.open()
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.engine, m.stopped = e, false
	m.mu.Unlock()
	m.follow(e)
	return nil
}

// lobby is the port for the other members of a stopped member, where operators' wishes
// arrive.
type lobby struct {
	transport *tcp.Transport
	control   *grpc.Server
	serving   sync.WaitGroup
}

func (m *Member) openLobby(identity node.Identity) (*lobby, error) {
	transport, err := m.opts.listenPeers(m.opts.peerPorts...)
	if err != nil {
		return nil, err
	}
	l := &lobby{transport: transport, control: grpc.NewServer()}
	streams := transport.Streams()
	if err := transport.Start(identity, nobody{}); err != nil {
		return nil, errors.Join(err, transport.Close())
	}
	m.registerControl(l.control)
	l.serving.Go(func() { _ = l.control.Serve(streams) })
	return l, nil
}

func (l *lobby) close() error {
	if l == nil {
		return nil // the lobby could not be opened
	}
	finish(l.control)
	err := l.transport.Close()
	l.serving.Wait()
	return err
}

// turnTimeout bounds the wait of a change for the end of the last one.
const turnTimeout = time.Second

// Limits of the time of a request to another member: to change it, and for its state.
const (
	changeTimeout = 5 * time.Second
	stateTimeout  = 500 * time.Millisecond
)

// control calls a method of the service Control of another member.
func (m *Member) control(ctx context.Context, id core.NodeID, address, method string, in, out any) error {
	m.mu.Lock()
	transport := m.engine.link.Transport
	if m.lobby != nil {
		transport = m.lobby.transport
	}
	m.mu.Unlock()
	var stranger atomic.Pointer[error]
	conn, err := peerConn(func(ctx context.Context, address string) (net.Conn, error) {
		s, err := transport.DialStreamAddress(ctx, address)
		if err == nil && s.Peer() != id {
			_ = s.Close()
			return nil, fmt.Errorf("another member answers at %s", address)
		}
		return s, err
	}, address, &stranger)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Invoke(ctx, method, in, out)
}
