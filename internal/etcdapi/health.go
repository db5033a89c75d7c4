package etcdapi

import (
	"context"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"raftlab/raft/core"
)

// registerProbes registers gRPC's health service, and server reflection if g can describe
// its services. A Router reads the descriptions of a Server that never runs.
func (s *Server) registerProbes(g grpc.ServiceRegistrar) {
	h := s.health
	if h == nil {
		h = newHealth()
	}
	healthpb.RegisterHealthServer(g, h)
	reflect(g)
}

func reflect(g grpc.ServiceRegistrar) {
	if described, ok := g.(reflection.GRPCServer); ok {
		reflection.Register(described)
	}
}

// newHealth returns a health service that serves nothing yet.
func newHealth() *health.Server {
	h := health.NewServer()
	h.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	return h
}

// Ready is closed when the member has joined its cluster: the member has a leader, and its
// name and addresses are published.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// followHealth keeps the status of the health service, until ctx ends. The member serves
// while it knows a leader and no alarm is raised. A change of the leader within three
// election timeouts is no loss.
func (s *Server) followHealth(ctx context.Context) {
	defer s.health.Shutdown()
	select {
	case <-s.ready:
	case <-ctx.Done():
		return
	}
	serving := false
	for ctx.Err() == nil {
		changed, alarms := s.node.Changed(), s.machine.alarmsChanged()
		healthy := len(s.picture().alarms) == 0 && (s.leader() != core.None || serving && !s.stillLeaderless(ctx))
		if healthy != serving && ctx.Err() == nil {
			serving = healthy
			status := healthpb.HealthCheckResponse_NOT_SERVING
			if healthy {
				status = healthpb.HealthCheckResponse_SERVING
			}
			s.health.SetServingStatus("", status)
			s.log.Info("the status of the gRPC health service has changed", "status", status)
			continue // the state may have changed meanwhile
		}
		select {
		case <-changed:
		case <-alarms:
		case <-ctx.Done():
		}
	}
}

// Health reports why the member should get no requests, as etcd's page /health does. The
// alarms whose names are excluded do not count. Without linearizable the member may have
// no leader.
func (s *Server) Health(ctx context.Context, linearizable bool, excluded map[string]bool) error {
	for _, a := range s.picture().alarms {
		if !excluded[a.kind.String()] {
			return fmt.Errorf("ALARM %s", a.kind) // etcd's words
		}
	}
	if !linearizable {
		return nil
	}
	if s.leader() == core.None {
		return errors.New("RAFT NO LEADER")
	}
	if err := s.readable(ctx); err != nil {
		return fmt.Errorf("RANGE ERROR:%w", err)
	}
	return nil
}

// readable reports why the member serves no linearizable reads within the time of ctx. The
// end of ctx is etcd's timeout.
func (s *Server) readable(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	_, err := s.node.ReadIndex(limited)
	if err == nil {
		return nil
	}
	return rpctypes.Error(s.late(context.WithoutCancel(ctx), err))
}

// Names of the checks of [Server.Check], which are etcd's.
const (
	CheckDataCorruption   = "data_corruption"
	CheckSerializableRead = "serializable_read"
	CheckLinearizableRead = "linearizable_read"
	CheckNonLearner       = "non_learner"
)

// Checks returns the names of all checks.
func Checks() []string {
	return []string{CheckDataCorruption, CheckSerializableRead, CheckLinearizableRead, CheckNonLearner}
}

// Check reports why the member fails a check. A member that fails a check should get no
// requests. The alarm NOSPACE fails none, because reads and deletions go on.
func (s *Server) Check(ctx context.Context, name string) error {
	switch name {
	case CheckDataCorruption:
		if raised(s.picture().alarms, pb.AlarmType_CORRUPT) {
			return errors.New("alarm activated: CORRUPT") // etcd's words
		}
	case CheckSerializableRead:
		return s.node.Err()
	case CheckLinearizableRead:
		return s.readable(ctx)
	case CheckNonLearner:
		st, err := s.node.Status(ctx)
		if err != nil {
			return err
		}
		if st.Learner {
			return errors.New("not supported for learner")
		}
	default:
		return fmt.Errorf("there is no check %q", name)
	}
	return nil
}
