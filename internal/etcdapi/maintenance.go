package etcdapi

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/api/v3/version"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftlab/raft/core"
)

// The versions of etcd whose API the server has, as clients ask for them.
var (
	apiVersion     = version.Version
	storageVersion = version.Cluster(apiVersion) + ".0"
)

// maintenanceService is the service Maintenance.
type maintenanceService struct {
	pb.UnimplementedMaintenanceServer
	server *Server
}

// Alarm implements pb.MaintenanceServer.
func (m *maintenanceService) Alarm(ctx context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	s := m.server
	check := s.administer
	if r.Action == pb.AlarmRequest_GET {
		check = s.known
	}
	if err := check(ctx); err != nil {
		return nil, err
	}
	response := &pb.AlarmResponse{}
	own := alarm{core.NodeID(r.MemberID), r.Alarm}
	switch r.Action {
	case pb.AlarmRequest_GET:
		if err := s.linearize(ctx); err != nil {
			return nil, err
		}
		for _, a := range s.picture().alarms {
			if r.Alarm == pb.AlarmType_NONE || r.Alarm == a.kind {
				response.Alarms = append(response.Alarms, toAlarm(a))
			}
		}
	case pb.AlarmRequest_ACTIVATE, pb.AlarmRequest_DEACTIVATE:
		change := &alarmChange{own, r.Action == pb.AlarmRequest_ACTIVATE}
		if err := s.linearize(ctx); err != nil {
			return nil, err
		}
		if r.Alarm == pb.AlarmType_NONE || !change.raised && !slices.Contains(s.picture().alarms, own) {
			break // the answer names the alarms that the request has changed
		}
		if _, err := s.propose(ctx, &entry{alarm: change}); err != nil {
			return nil, err
		}
		response.Alarms = append(response.Alarms, toAlarm(own))
	}
	response.Header = s.header(s.picture().view.Revision())
	return response, nil
}

func toAlarm(a alarm) *pb.AlarmMember {
	return &pb.AlarmMember{MemberID: uint64(a.member), Alarm: a.kind}
}

// A status waits for the member to join until joinTimeouts election timeouts after the
// start, and leastJoinTime after the start. In this time a member with a majority has a
// leader, also on a busy machine.
const (
	joinTimeouts  = 3
	leastJoinTime = 3 * time.Second
)

// unjoined is an error in the status of a member that has not joined.
const unjoined = "the member has not joined its cluster since its start, and has applied only a part of its log"

// joins waits until the member has joined, and reports whether it has. A while after the
// start nothing waits.
func (s *Server) joins(ctx context.Context) bool {
	limited, cancel := context.WithDeadline(ctx, s.begun.Add(max(joinTimeouts*s.cfg.Node.ElectionTimeout, leastJoinTime)))
	defer cancel()
	select {
	case <-s.ready:
	case <-limited.Done():
	}
	select {
	case <-s.ready:
		return true
	default:
		return false
	}
}

// Status implements pb.MaintenanceServer. A member that has just started has applied an
// unknown part of its log, so its revision may be lower than before the restart. The status
// waits for the rest, but not for a leader that does not come.
func (m *maintenanceService) Status(ctx context.Context, _ *pb.StatusRequest) (*pb.StatusResponse, error) {
	s := m.server
	if err := s.known(ctx); err != nil {
		return nil, err
	}
	joined := s.joins(ctx)
	st, err := s.node.Status(ctx)
	if err != nil {
		return nil, answer(err)
	}
	p := s.picture()
	size := max(p.view.Size(), 1) // JSON has no field for 0, and clients want one
	response := &pb.StatusResponse{
		Header: s.header(p.view.Revision()), Version: apiVersion, StorageVersion: storageVersion,
		DbSize: size, DbSizeInUse: size, DbSizeQuota: s.cfg.Quota,
		Leader: uint64(st.Leader), RaftTerm: st.CurrentTerm, RaftIndex: st.CommitIndex, RaftAppliedIndex: st.LastApplied,
		IsLearner: st.Learner, DowngradeInfo: &pb.DowngradeInfo{},
	}
	if st.Leader == core.None {
		response.Errors = append(response.Errors, "etcdserver: no leader")
	}
	if !joined {
		response.Errors = append(response.Errors, unjoined)
	}
	for _, a := range p.alarms {
		response.Errors = append(response.Errors, toAlarm(a).String())
	}
	return response, nil
}

// Defragment implements pb.MaintenanceServer. The store has no file to defragment, so
// Defragment waits only until the memory of compacted versions is released. Etcd's
// response has no header, either.
func (m *maintenanceService) Defragment(ctx context.Context, _ *pb.DefragmentRequest) (*pb.DefragmentResponse, error) {
	if err := m.server.administer(ctx); err != nil {
		return nil, err
	}
	if err := m.server.machine.released(ctx); err != nil {
		return nil, answer(err)
	}
	return &pb.DefragmentResponse{}, nil
}

// Hash implements pb.MaintenanceServer. The hash is that of HashKV.
func (m *maintenanceService) Hash(ctx context.Context, _ *pb.HashRequest) (*pb.HashResponse, error) {
	if err := m.server.administer(ctx); err != nil {
		return nil, err
	}
	view := m.server.picture().view
	h, err := view.HashKV(0)
	if err != nil {
		return nil, answer(err)
	}
	return &pb.HashResponse{Header: m.server.header(view.Revision()), Hash: visible(h.Sum)}, nil
}

// HashKV implements pb.MaintenanceServer.
func (m *maintenanceService) HashKV(ctx context.Context, r *pb.HashKVRequest) (*pb.HashKVResponse, error) {
	if err := m.server.administer(ctx); err != nil {
		return nil, err
	}
	response, err := m.server.handleHash(ctx, r)
	if err != nil {
		return nil, answer(err)
	}
	response.Hash = visible(response.Hash)
	return response, nil
}

// visible returns the hash that clients get. JSON has no field for the hash 0 of an empty
// store, and clients look for one.
func visible(hash uint32) uint32 { return max(hash, 1) }

// handleHash hashes the own store up to a revision.
func (s *Server) handleHash(_ context.Context, r *pb.HashKVRequest) (*pb.HashKVResponse, error) {
	view := s.picture().view
	h, err := view.HashKV(r.Revision)
	if err != nil {
		return nil, err
	}
	return &pb.HashKVResponse{
		Header: s.header(view.Revision()), Hash: h.Sum, CompactRevision: h.Compacted, HashRevision: h.Revision,
	}, nil
}

// snapshotChunk is the size of the pieces of a snapshot.
const snapshotChunk = 256 << 10

// Snapshot implements pb.MaintenanceServer. The snapshot is a database of etcd. Its SHA-256
// is the last piece.
func (m *maintenanceService) Snapshot(_ *pb.SnapshotRequest, stream pb.Maintenance_SnapshotServer) error {
	if err := m.server.administer(stream.Context()); err != nil {
		return err
	}
	file, err := m.server.picture().layout()
	if err != nil {
		return answer(err)
	}
	size := file.Size() // the digest does not count, as in etcd, and comes alone
	out := &pieces{send: func(piece []byte) error {
		size -= int64(len(piece))
		return stream.Send(&pb.SnapshotResponse{
			Blob: piece, RemainingBytes: uint64(max(size, 0)), Version: databaseVersion,
		})
	}}
	if err := writeBackup(file, out, out.flush); err != nil {
		return answer(err)
	}
	return answer(out.flush())
}

// pieces cuts what is written into pieces, each with memory of its own, because gRPC
// sends later.
type pieces struct {
	send  func([]byte) error
	piece []byte
}

func (p *pieces) Write(data []byte) (int, error) {
	written := len(data)
	for len(data) > 0 {
		if p.piece == nil {
			p.piece = make([]byte, 0, snapshotChunk)
		}
		n := min(len(data), snapshotChunk-len(p.piece))
		p.piece = append(p.piece, data[:n]...)
		data = data[n:]
		if len(p.piece) == snapshotChunk {
			if err := p.flush(); err != nil {
				return 0, err
			}
		}
	}
	return written, nil
}

func (p *pieces) flush() error {
	if len(p.piece) == 0 {
		return nil
	}
	err := p.send(p.piece)
	p.piece = nil
	return err
}

// MoveLeader implements pb.MaintenanceServer, on the leader.
func (m *maintenanceService) MoveLeader(ctx context.Context, r *pb.MoveLeaderRequest) (*pb.MoveLeaderResponse, error) {
	s := m.server
	if err := s.administer(ctx); err != nil {
		return nil, err
	}
	if !s.node.IsLeader() {
		return nil, rpctypes.ErrGRPCNotLeader
	}
	st, err := s.node.Status(ctx)
	if err != nil {
		return nil, answer(err)
	}
	voter := false
	for _, one := range st.Members {
		voter = voter || one.Voter && one.ID == core.NodeID(r.TargetID)
	}
	if !voter {
		return nil, rpctypes.ErrGRPCBadLeaderTransferee
	}
	limited, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	if err := s.node.TransferLeadership(limited, core.NodeID(r.TargetID)); err != nil {
		return nil, s.late(ctx, err)
	}
	return &pb.MoveLeaderResponse{Header: s.header(s.picture().view.Revision())}, nil
}

// Downgrade implements pb.MaintenanceServer. No earlier version of etcd can read the data,
// so no target version is valid, and no downgrade is ever under way. Etcd, too, answers a
// cancellation without a downgrade with the version of the cluster.
func (m *maintenanceService) Downgrade(ctx context.Context, r *pb.DowngradeRequest) (*pb.DowngradeResponse, error) {
	s := m.server
	if err := s.administer(ctx); err != nil {
		return nil, err
	}
	switch r.Action {
	case pb.DowngradeRequest_VALIDATE, pb.DowngradeRequest_ENABLE:
		if !versionFormat.MatchString(r.Version) {
			return nil, rpctypes.ErrGRPCWrongDowngradeVersionFormat
		}
		return nil, rpctypes.ErrGRPCInvalidDowngradeTargetVersion
	case pb.DowngradeRequest_CANCEL:
		return &pb.DowngradeResponse{Header: s.header(s.picture().view.Revision()), Version: version.Cluster(apiVersion)}, nil
	}
	return nil, status.Error(codes.Unknown, "etcdserver: unknown method")
}

// versionFormat is that of a version of etcd, with or without the patch.
var versionFormat = regexp.MustCompile(`^\d+\.\d+(\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?)?$`)

// compareHashes has the leader compare its hash with those of the other members, and
// raise the alarm CORRUPT for a member whose hash differs. A member that is behind, or
// does not answer, is compared the next time.
func (s *Server) compareHashes(ctx context.Context) error {
	if err := s.leads(ctx); err != nil {
		return err
	}
	own, err := s.handleHash(ctx, &pb.HashKVRequest{})
	if err != nil {
		return err
	}
	st, err := s.node.Status(ctx)
	if err != nil {
		return err
	}
	var failed []error
	for _, one := range st.Members {
		if one.ID == s.node.ID() {
			continue
		}
		theirs := &pb.HashKVResponse{}
		if err := s.invoke(ctx, one.ID, methodHash, &pb.HashKVRequest{Revision: own.HashRevision}, theirs); err != nil {
			failed = append(failed, err)
			continue
		}
		if theirs.CompactRevision != own.CompactRevision || theirs.Hash == own.Hash {
			continue
		}
		s.log.Error("the states of two members differ", "member", one.ID, "revision", own.HashRevision, "hash", theirs.Hash, "leader's hash", own.Hash)
		if _, err := s.propose(ctx, &entry{alarm: &alarmChange{alarm{one.ID, pb.AlarmType_CORRUPT}, true}}); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}
