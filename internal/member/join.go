//go:build !wasip1

package member

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"raftlab/internal/datadir"
	"raftlab/internal/etcdapi"
	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/tcp"
)

// joinTimeout bounds the conversation with one address of a cluster.
const joinTimeout = 30 * time.Second

// newcomer returns who this member becomes without data. A first member computes its id.
// A later member asks the cluster.
func (m *Member) newcomer() (newcomer, error) {
	o := &m.opts
	switch {
	case o.Groups > 0 && len(o.Cluster) > 0:
		return newcomer{id: datadir.FirstID(datadir.GroupsIdentity(o.ClusterName, o.Groups), o.Name)}, nil
	case o.Groups > 0 && len(o.Join) > 0:
		return m.joinGroups()
	case o.Existing:
		return m.added()
	case len(o.Cluster) > 0:
		return newcomer{id: datadir.FirstID(o.ClusterName, o.Name)}, nil
	case len(o.Join) == 0:
		return newcomer{}, fmt.Errorf("%s: %w; name the first members with --cluster, or a running cluster with --join", o.Data, ErrNoData)
	}
	var all []error
	for _, address := range o.Join {
		n, err := m.join(address)
		if err == nil {
			return n, nil
		}
		all = append(all, fmt.Errorf("joining through %s: %w", address, explainJoin(err)))
	}
	return newcomer{}, errors.Join(all...)
}

// inquirer is the host id of a member that asks for its id. No member has this id.
const inquirer = core.NodeID(math.MaxUint64)

// added returns who this member is after an operator has added it. The first members of
// Options.Cluster are asked at the ports for members, one after the other.
func (m *Member) added() (newcomer, error) {
	transport, err := m.opts.listenPeers("127.0.0.1:0") // nobody dials the port
	if err != nil {
		return newcomer{}, err
	}
	err = transport.Start(node.Identity{Cluster: m.opts.ClusterName, Host: inquirer}, nobody{})
	defer transport.Close()
	if err != nil {
		return newcomer{}, err
	}
	var all []error
	for _, name := range slices.Sorted(maps.Keys(m.opts.Cluster)) {
		address := withoutScheme(m.opts.Cluster[name])
		if name == m.opts.Name || address == m.opts.AdvertisePeer {
			continue
		}
		id, err := m.askFor(transport, address)
		if err == nil {
			return newcomer{id: id}, nil
		}
		all = append(all, fmt.Errorf("asking %s at %s: %w", name, address, err))
	}
	return newcomer{}, fmt.Errorf("--initial-cluster-state existing is for a member that etcdctl member add has added: %w", errors.Join(all...))
}

// nobody is a [node.Receiver] that takes no messages.
type nobody struct{}

func (nobody) Receive(core.NodeID, []node.Message) {}
func (nobody) PeerUp(core.NodeID)                  {}
func (nobody) PeerDown(core.NodeID, error)         {}

// askFor asks the member at a peer address for the id of this one.
func (m *Member) askFor(transport *tcp.Transport, address string) (core.NodeID, error) {
	var stranger atomic.Pointer[error]
	conn, err := peerConn(streamsOf(transport), address, &stranger)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), joinTimeout/3)
	defer cancel()
	list, err := pb.NewClusterClient(conn).MemberList(ctx, &pb.MemberListRequest{Linearizable: true})
	if err != nil {
		if why := stranger.Load(); why != nil {
			err = *why
		}
		return 0, err
	}
	id, err := m.find(list.Members)
	if id == 0 && err == nil {
		err = fmt.Errorf("the cluster has no member at %s", m.opts.AdvertisePeer)
	}
	return id, err
}

// streamsOf returns a dialler of streams.
func streamsOf(transport *tcp.Transport) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, address string) (net.Conn, error) {
		return transport.DialStreamAddress(ctx, address)
	}
}

// peerConn returns a connection to the member at a peer address. If the member is of
// another cluster, stranger has the error.
func peerConn(dial func(context.Context, string) (net.Conn, error), address string, stranger *atomic.Pointer[error]) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // the stream has TLS
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			conn, err := dial(ctx, address)
			if errors.Is(err, tcp.ErrCluster) {
				stranger.Store(&err)
			}
			return conn, err
		}))
}

// join finds this member among the members of a cluster, by the peer address, or has the
// cluster add the member.
func (m *Member) join(address string) (newcomer, error) {
	conn, err := m.dial(address)
	if err != nil {
		return newcomer{}, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), joinTimeout)
	defer cancel()
	if ctx, err = m.logIn(ctx, conn); err != nil {
		return newcomer{}, err
	}
	cluster := pb.NewClusterClient(conn)
	for told := false; ; told = true {
		n, err := m.enter(ctx, cluster)
		if err == nil || !passes(err) {
			return n, err
		}
		if !told {
			m.log.Info("the cluster does not add a member yet; it is asked again", "error", err)
		}
		select {
		case <-time.After(joinPause):
		case <-ctx.Done():
			return n, err
		}
	}
}

// enter finds this member in a cluster, or has the cluster add the member. An addition
// without an answer may have been made, and the next call then finds the member.
func (m *Member) enter(ctx context.Context, cluster pb.ClusterClient) (newcomer, error) {
	list, err := cluster.MemberList(ctx, &pb.MemberListRequest{Linearizable: true})
	if err != nil {
		return newcomer{}, err
	}
	n := newcomer{number: m.clusterNumber(list.Header)}
	if n.id, err = m.find(list.Members); n.id != 0 || err != nil {
		return n, err
	}
	added, err := cluster.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{m.peerURL()}})
	if err == nil {
		n.id = core.NodeID(added.Member.ID)
	}
	return n, err
}

// passes reports whether an error of a cluster is likely to pass. A cluster refuses additions
// soon after its start, and beside another addition. On a busy machine the cluster may be
// without a leader for some time.
func passes(err error) bool {
	refusal, etcds := rpctypes.Error(err).(rpctypes.EtcdError)
	if !etcds || refusal == rpctypes.ErrStopped {
		return false
	}
	return refusal.Code() == codes.Unavailable || refusal == rpctypes.ErrMemberNotEnoughStarted
}

// joinPause is the time between two requests for the addition of this member.
const joinPause = 500 * time.Millisecond

// logIn adds the token of Options.JoinUser to the context.
func (m *Member) logIn(ctx context.Context, conn *grpc.ClientConn) (context.Context, error) {
	if m.opts.JoinUser == "" {
		return ctx, nil
	}
	name, password, _ := strings.Cut(m.opts.JoinUser, ":")
	answer, err := pb.NewAuthClient(conn).Authenticate(ctx, &pb.AuthenticateRequest{Name: name, Password: password})
	if err != nil {
		return ctx, fmt.Errorf("the user %s of --join-user: %w", name, err)
	}
	return metadata.AppendToOutgoingContext(ctx, rpctypes.TokenFieldNameGRPC, answer.Token), nil
}

// explainJoin adds to the error of a cluster with users how a member gives a user.
func explainJoin(err error) error {
	switch rpctypes.Error(err) {
	case rpctypes.ErrUserEmpty:
		return fmt.Errorf("the cluster has users; name one with the role root with --join-user: %w", err)
	case rpctypes.ErrPermissionDenied:
		return fmt.Errorf("only users with the role root add members: %w", err)
	}
	return err
}

// clusterNumber returns the number of a restored or recovered cluster. Other clusters
// have an id that follows from the name alone.
func (m *Member) clusterNumber(header *pb.ResponseHeader) datadir.Number {
	if header.GetClusterId() == etcdapi.ClusterID(m.opts.ClusterName) {
		return 0
	}
	return datadir.Number(header.GetClusterId())
}

// peerURL returns the URL under which the other members know this one.
func (m *Member) peerURL() string { return m.opts.peerScheme() + "://" + m.opts.AdvertisePeer }

// find returns the id of the member with this one's peer address, 0 for none.
func (m *Member) find(members []*pb.Member) (core.NodeID, error) {
	for _, other := range members {
		here := slices.ContainsFunc(other.PeerURLs, func(u string) bool { return withoutScheme(u) == m.opts.AdvertisePeer })
		switch {
		case here && other.Name == "":
			return core.NodeID(other.ID), nil // added by an operator, or by an interrupted start
		case here:
			return 0, fmt.Errorf("the member %s (%x) has the address %s already; if its data is lost, remove the member first", other.Name, other.ID, m.opts.AdvertisePeer)
		case other.Name == m.opts.Name:
			return 0, fmt.Errorf("the cluster has another member of the name %s (%x)", other.Name, other.ID)
		}
	}
	return 0, nil
}

// dial connects to a client URL of another member, with the certificate of the client
// port.
func (m *Member) dial(address string) (*grpc.ClientConn, error) {
	secure := insecure.NewCredentials()
	if strings.HasPrefix(address, "https://") {
		config, err := m.clientTLS()
		if err != nil {
			return nil, err
		}
		secure = credentials.NewTLS(config)
	}
	return grpc.NewClient(withoutScheme(address), grpc.WithTransportCredentials(secure))
}

// checkFirstStart refuses a first member without data whose cluster runs already. Such a
// member has forgotten its votes and acknowledged entries.
func (m *Member) checkFirstStart(transport *tcp.Transport) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	self := datadir.FirstID(m.opts.ClusterName, m.opts.Name)
	answers := make(chan error)
	asked := 0
	for _, other := range m.opts.members(m.opts.ClusterName) {
		if other.ID == self {
			continue
		}
		asked++
		go func() { answers <- m.isKnown(ctx, transport, other.Address, self) }()
	}
	var known error
	for range asked {
		if err := <-answers; err != nil {
			known = err
		}
	}
	return known
}

// isKnown returns an error if the member at a peer address knows this member as one that
// has run before, or belongs to a cluster that was restored or recovered. A member that
// does not answer knows nothing.
func (m *Member) isKnown(ctx context.Context, transport *tcp.Transport, address string, self core.NodeID) error {
	var stranger atomic.Pointer[error]
	conn, err := peerConn(streamsOf(transport), address, &stranger)
	if err != nil {
		return err
	}
	defer conn.Close()
	list, err := pb.NewClusterClient(conn).MemberList(ctx, &pb.MemberListRequest{})
	if err != nil {
		if why := stranger.Load(); why != nil {
			return fmt.Errorf("%w: %s is not of this cluster; if the cluster was restored or recovered, restore this member, too, or add it anew with --join: %w", ErrNoData, address, *why)
		}
		return nil
	}
	for _, other := range list.Members {
		if core.NodeID(other.ID) == self && other.Name != "" {
			return fmt.Errorf("%w: the member %s (%x) has run before, and its data is not in %s; remove the member from the cluster and add it anew with --join", ErrNoData, other.Name, other.ID, m.opts.Data)
		}
	}
	return nil
}

// clientTLS returns the configuration for dialling client ports.
func (m *Member) clientTLS() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	var err error
	if config.RootCAs, err = x509.SystemCertPool(); err != nil {
		config.RootCAs = x509.NewCertPool()
	}
	for _, name := range []string{m.opts.TLS.CA, m.opts.PeerTLS.CA} {
		if name == "" {
			continue
		}
		pem, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		config.RootCAs.AppendCertsFromPEM(pem)
	}
	if m.opts.TLS.Cert != "" {
		cert, err := tls.LoadX509KeyPair(m.opts.TLS.Cert, m.opts.TLS.Key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{cert}
	}
	return config, nil
}
