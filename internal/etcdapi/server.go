package etcdapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math"
	"net"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/keepalive"

	"raftlab/internal/auth"
	"raftlab/internal/etcdapi/v3electionpb"
	"raftlab/internal/etcdapi/v3lockpb"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// Config has the settings of a Server. Host and DialMember are required. The zero value
// of each other field means its default.
type Config struct {
	// Host runs the member. The owner of the host closes the host after the server.
	Host *node.Host
	// Node has the settings of the group. Start sets StateMachine.
	Node node.Config
	// DialMember opens a connection to the server of RegisterPeers on another member.
	// The connection is encrypted and authenticated already, if at all.
	DialMember func(ctx context.Context, member core.NodeID) (net.Conn, error)
	// ClusterID is the cluster's id in headers. The default is a hash of the cluster's
	// name.
	ClusterID uint64
	// Name is the member's name in MemberList.
	Name string
	// ClientURLs are the addresses at which clients reach this server, as
	// http://host:port or https://host:port.
	ClientURLs []string
	// PeerScheme begins the peer URLs of MemberList. The default is http.
	PeerScheme string
	// PeerAddress is the address that the other members dial. The server records a changed
	// address in the membership. The default leaves the recorded one.
	PeerAddress string
	// MaxRequestBytes bounds a write. The default is 1.5 MiB, as etcd's.
	MaxRequestBytes int
	// MaxTxnOps bounds the comparisons, and the operations of each branch, of a
	// transaction. The default is 128, as etcd's.
	MaxTxnOps int
	// Quota bounds the accounted size of the store, in bytes. Beyond the quota the
	// server raises the alarm NOSPACE. The default is 2 GiB.
	Quota int64
	// RequestTimeout bounds the wait for a leader and for the log. The default is 5 s
	// and two election timeouts, as etcd's.
	RequestTimeout time.Duration
	// ProgressInterval is the interval of progress notifications of idle watches. The
	// default is 10 minutes, as etcd's.
	ProgressInterval time.Duration
	// CheckpointInterval is the interval in which the leader records the remaining time
	// of long leases. The default is 5 minutes, as etcd's.
	CheckpointInterval time.Duration
	// CompareInterval is the interval in which the leader compares the members' hashes.
	// The default is 10 minutes.
	CompareInterval time.Duration
	// Tokens issues and verifies the tokens of users. All members have the same kind of
	// tokens, and the same keys of JWT. The default is simple tokens.
	Tokens *auth.Tokens
	// CertificateUsers takes the common name of a verified certificate as the user of a
	// request without a token.
	CertificateUsers bool
	// BoundHistory has the leader compact the history when the history has outgrown the
	// keys and 32 MiB, or an eighth of the room that the quota leaves beside the keys. The
	// changes of the last 5 s stay for slow watches, unless the history has four times that
	// size. A write that reaches the quota has the whole history compacted before the alarm
	// NOSPACE is raised. Without BoundHistory only clients compact.
	BoundHistory bool
	// FixedMembers has the server refuse changes of members.
	FixedMembers bool
	// Connections are those of Host. Nil omits the checks of changes of members, and the
	// figures of connections.
	Connections *Connections
	// LooseReconfig omits the checks of changes of members: a majority of the voters, with
	// the new one, has to have been connected for 5 s.
	LooseReconfig bool
	// MaxLearners bounds the learners. The default is 1, as etcd's.
	MaxLearners int
	// AutoCompaction compacts old revisions. The default is never.
	AutoCompaction AutoCompaction
	// SlowRequest is the time of a request from which on the log has a warning. The default
	// is 300 ms, as etcd's.
	SlowRequest time.Duration
	// MaxStreams bounds the requests and streams of a connection. The default is no bound.
	MaxStreams uint32
	// Level is the newest level that this member tells and reads. The default is [Level].
	// Tests of upgrades set a lower one.
	Level int
	// Logger receives what operators should know. The default is silent.
	Logger *slog.Logger
}

// ClusterID returns the default of Config.ClusterID for the name of a cluster.
func ClusterID(cluster string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(cluster))
	return h.Sum64()
}

// ErrConfig is matched by the error of a setting out of range.
var ErrConfig = errors.New("etcdapi: wrong configuration")

func (c *Config) setDefaults() error {
	if c.Host == nil || c.DialMember == nil {
		return fmt.Errorf("%w: Config.Host or Config.DialMember is nil", ErrConfig)
	}
	c.ClusterID = cmp.Or(c.ClusterID, ClusterID(c.Host.Identity().Cluster))
	c.Node.ElectionTimeout = cmp.Or(c.Node.ElectionTimeout, time.Second)
	c.Level = cmp.Or(c.Level, Level)
	c.PeerScheme = cmp.Or(c.PeerScheme, "http")
	c.MaxRequestBytes = cmp.Or(c.MaxRequestBytes, 3<<19)
	c.MaxTxnOps = cmp.Or(c.MaxTxnOps, 128)
	c.MaxLearners = cmp.Or(c.MaxLearners, 1)
	c.Quota = cmp.Or(c.Quota, 2<<30)
	c.RequestTimeout = cmp.Or(c.RequestTimeout, 5*time.Second+2*c.Node.ElectionTimeout)
	c.ProgressInterval = cmp.Or(c.ProgressInterval, 10*time.Minute)
	c.CheckpointInterval = cmp.Or(c.CheckpointInterval, 5*time.Minute)
	c.CompareInterval = cmp.Or(c.CompareInterval, 10*time.Minute)
	c.SlowRequest = cmp.Or(c.SlowRequest, 300*time.Millisecond)
	if c.Tokens == nil {
		var err error
		if c.Tokens, err = auth.NewTokens("", 0, 0); err != nil {
			return err
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	// A log entry has a little more than the request.
	c.Node.MaxCommandBytes = cmp.Or(c.Node.MaxCommandBytes, max(4<<20, c.MaxRequestBytes+1<<10))
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"MaxRequestBytes", int64(c.MaxRequestBytes)}, {"MaxTxnOps", int64(c.MaxTxnOps)}, {"MaxLearners", int64(c.MaxLearners)}, {"Quota", c.Quota},
		{"RequestTimeout", int64(c.RequestTimeout)},
		{"ProgressInterval", int64(c.ProgressInterval)}, {"CheckpointInterval", int64(c.CheckpointInterval)},
		{"CompareInterval", int64(c.CompareInterval)}, {"SlowRequest", int64(c.SlowRequest)},
		{"AutoCompaction.Age", int64(c.AutoCompaction.Age)}, {"AutoCompaction.Revisions", c.AutoCompaction.Revisions},
	} {
		if f.value < 0 {
			return fmt.Errorf("%w: Config.%s is %d; want more than 0", ErrConfig, f.name, f.value)
		}
	}
	return nil
}

// Server is one member of a cluster. Its methods may be called from any goroutine.
type Server struct {
	cfg     Config
	log     *slog.Logger
	node    *node.Node
	machine *Machine
	peers   *peers
	lessor  *lessor

	renewals *renewals
	hub      *hub

	counters   counters
	registered registered
	health     *health.Server
	begun      time.Time
	ready      chan struct{} // closed by publishAttributes
	making     chan struct{} // has a token while a request makes room

	done    context.Context // ends with Close
	cancel  context.CancelFunc
	serving context.Context // of streams, ends with Drain
	drain   context.CancelFunc
	loops   sync.WaitGroup
}

// Start starts the host's member of the group. Close ends the member. Close does not end
// the gRPC servers with which the server was registered.
func Start(cfg Config) (*Server, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, log: cfg.Logger, machine: NewMachine(cfg.Host.Identity().Host), peers: newPeers(cfg.DialMember), health: newHealth(), begun: time.Now(), ready: make(chan struct{}), making: make(chan struct{}, 1)}
	s.done, s.cancel = context.WithCancel(context.Background())
	s.serving, s.drain = context.WithCancel(s.done)
	s.lessor = newLessor(s)
	s.machine.newest, s.machine.onRevoke = cfg.Level, s.lessor.forget
	cfg.Node.StateMachine = s.machine
	cfg.Node.PromptCommits = true // for the watches of the other members
	member, err := cfg.Host.Start(cfg.Node)
	if err != nil {
		s.cancel()
		return nil, err
	}
	s.node = member
	s.hub = newHub(s.machine)
	s.renewals = newRenewals(s)
	s.loops.Go(s.publish)
	s.loops.Go(func() { s.machine.release(s.done) })
	s.loops.Go(func() { s.hub.run(s.done) })
	s.loops.Go(func() { s.lessor.run(s.done) })
	s.loops.Go(func() { s.renewals.run(s.done) })
	s.loops.Go(func() { s.steward(s.done) })
	s.loops.Go(func() { s.followHealth(s.done) })
	s.loops.Go(func() { s.raiseLevel(s.done) })
	if cfg.BoundHistory {
		s.loops.Go(func() { s.boundHistory(s.done) })
	}
	if cfg.AutoCompaction != (AutoCompaction{}) {
		s.loops.Go(func() { (&compactor{server: s}).run(s.done) })
	}
	return s, nil
}

// Close ends the member and the server's goroutines. Requests and streams under way end
// with errors.
func (s *Server) Close() error {
	s.cancel()
	err := s.node.Close()
	s.loops.Wait()
	return errors.Join(err, s.peers.close())
}

// Drain ends the streams of clients, which go on at other members. Other requests are
// served until Close.
func (s *Server) Drain() { s.drain() }

// Node returns the member.
func (s *Server) Node() *node.Node { return s.node }

// pings lets a client ping as often as etcd's servers do.
var pings = grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second})

// Options returns the options for the gRPC server of clients: limits of messages, and
// the checks that belong to all services.
func (s *Server) Options() []grpc.ServerOption {
	return append(Limits(s.cfg.MaxRequestBytes, s.cfg.MaxStreams),
		pings,
		grpc.ChainUnaryInterceptor(s.checkUnary),
		grpc.ChainStreamInterceptor(s.checkStream),
	)
}

// Limits returns the options for the limits of messages, and of streams of a connection.
func Limits(maxRequestBytes int, maxStreams uint32) []grpc.ServerOption {
	if maxStreams == 0 {
		maxStreams = math.MaxUint32
	}
	return []grpc.ServerOption{grpc.MaxRecvMsgSize(maxRequestBytes + 512<<10), grpc.MaxConcurrentStreams(maxStreams)}
}

// PeerOptions returns the options for the gRPC server of RegisterPeers. Requests from other
// members have all permissions.
func (s *Server) PeerOptions() []grpc.ServerOption {
	return append(s.Options(), grpc.ChainUnaryInterceptor(fromMember))
}

// Register registers the services for clients.
func (s *Server) Register(g grpc.ServiceRegistrar) {
	pb.RegisterKVServer(g, &kvService{server: s})
	pb.RegisterLeaseServer(g, &leaseService{server: s})
	pb.RegisterWatchServer(g, &watchService{server: s})
	pb.RegisterClusterServer(g, &clusterService{server: s})
	pb.RegisterMaintenanceServer(g, &maintenanceService{server: s})
	pb.RegisterAuthServer(g, &authService{server: s})
	v3lockpb.RegisterLockServer(g, &lockService{kv: &kvService{server: s}})
	v3electionpb.RegisterElectionServer(g, &electionService{kv: &kvService{server: s}})
	s.registerProbes(g)
}

// RegisterPeers registers the services for the other members. The server has to
// authenticate its callers.
func (s *Server) RegisterPeers(g grpc.ServiceRegistrar) {
	s.Register(g)
	g.RegisterService(&peerService, s)
}

// picture returns the current state.
func (s *Server) picture() *picture { return s.machine.current.Load() }

// header returns the header of an answer with a revision.
func (s *Server) header(revision int64) *pb.ResponseHeader {
	return &pb.ResponseHeader{ClusterId: s.cfg.ClusterID, MemberId: uint64(s.node.ID()), Revision: revision, RaftTerm: s.node.Term()}
}

// publish publishes what the other members and clients have to know of this member.
func (s *Server) publish() {
	s.publishAttributes()
	if s.cfg.PeerAddress != "" {
		s.publishAddress()
	}
}

// publishAddress has the leader record the member's address, if the recorded one differs.
// A member that starts later then finds this one.
func (s *Server) publishAddress() {
	for s.done.Err() == nil {
		err := s.tryAddress()
		if err == nil {
			return
		}
		s.log.Debug("publishing the member's address", "address", s.cfg.PeerAddress, "error", err)
		s.pause(s.cfg.Node.ElectionTimeout)
	}
}

func (s *Server) tryAddress() error {
	st, err := s.node.Status(s.done)
	if err != nil {
		return err
	}
	for _, m := range st.Members {
		if m.ID == s.node.ID() && m.Address == s.cfg.PeerAddress {
			return nil
		}
	}
	r := &pb.MemberUpdateRequest{ID: uint64(s.node.ID()), PeerURLs: []string{s.cfg.PeerScheme + "://" + s.cfg.PeerAddress}}
	return onLeader(s.done, s, methodMemberUpdate, r, &pb.MemberUpdateResponse{}, (*Server).updateMember)
}

// publishAttributes publishes the member's name and addresses, if the published ones
// differ.
func (s *Server) publishAttributes() {
	own := attributes{member: s.node.ID(), name: s.cfg.Name, clientURLs: s.cfg.ClientURLs}
	for s.done.Err() == nil {
		if a := s.picture().members[own.member]; own.equal(a) {
			if s.readable(s.done) == nil && own.equal(s.picture().members[own.member]) {
				close(s.ready)
				return
			}
		}
		ctx, cancel := context.WithTimeout(s.done, s.cfg.RequestTimeout)
		_, err := s.propose(ctx, &entry{publish: &own})
		cancel()
		if err == nil {
			close(s.ready)
			return
		}
		s.log.Debug("publishing the member's attributes", "error", err)
		s.pause(s.cfg.Node.ElectionTimeout / 4)
	}
}

// pause waits, or returns earlier if the server ends.
func (s *Server) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.done.Done():
	}
}

// leader returns the leader, core.None if unknown.
func (s *Server) leader() core.NodeID {
	id, _ := s.node.Leader()
	return id
}
