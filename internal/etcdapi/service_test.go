package etcdapi_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"

	"raftlab/internal/etcdapi"
	"raftlab/internal/etcdapi/v3lockpb"
)

// The leader compacts revisions of an age, and the next leader goes on.
func TestCompactionByAge(t *testing.T) {
	run(t, etcdapi.Config{AutoCompaction: etcdapi.AutoCompaction{Age: time.Minute}}, func(c *cluster) {
		var old int64
		for i := range 30 { // ten puts in an age
			old = c.leader().put(t, "k", fmt.Sprint(i)).Header.Revision
			time.Sleep(6 * time.Second)
			view := c.leader().server.Stats()
			kept := old - max(view.Compacted, 1)
			require.LessOrEqual(t, kept, int64(22), "two ages at most")
			if view.Compacted > 0 {
				require.GreaterOrEqual(t, kept, int64(9), "at least an age")
			}
		}
		require.Greater(t, c.leader().server.Stats().Compacted, int64(10))
		compacted := c.leader().server.Stats().Compacted
		c.stop(c.leader().id)
		time.Sleep(3 * time.Minute)
		require.Greater(t, c.leader().server.Stats().Compacted, compacted)
	})
}

func TestCompactionByNumber(t *testing.T) {
	run(t, etcdapi.Config{AutoCompaction: etcdapi.AutoCompaction{Revisions: 10}}, func(c *cluster) {
		for i := range 30 {
			c.leader().put(t, "k", fmt.Sprint(i))
		}
		time.Sleep(6 * time.Minute)
		require.Equal(t, int64(21), c.follower().server.Stats().Compacted)
		time.Sleep(6 * time.Minute)
		require.Equal(t, int64(21), c.leader().server.Stats().Compacted)
	})
}

// The health service follows alarms and the loss of the leader, and outlasts a change of
// the leader.
func TestHealth(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		settle()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		m := c.follower()
		health := healthpb.NewHealthClient(m.conn)
		watch, err := health.Watch(ctx, &healthpb.HealthCheckRequest{})
		require.NoError(t, err)
		next := func(want healthpb.HealthCheckResponse_ServingStatus) {
			t.Helper()
			r, err := watch.Recv()
			require.NoError(t, err)
			require.Equal(t, want, r.Status)
		}
		next(healthpb.HealthCheckResponse_SERVING)
		require.NoError(t, m.server.Health(ctx, true, nil))
		alarm := func(action pb.AlarmRequest_AlarmAction) {
			_, err := pb.NewMaintenanceClient(m.conn).Alarm(ctx, &pb.AlarmRequest{Action: action, MemberID: 1, Alarm: pb.AlarmType_NOSPACE})
			require.NoError(t, err)
		}
		alarm(pb.AlarmRequest_ACTIVATE)
		next(healthpb.HealthCheckResponse_NOT_SERVING)
		require.EqualError(t, m.server.Health(ctx, true, nil), "ALARM NOSPACE")
		require.NoError(t, m.server.Health(ctx, true, map[string]bool{"NOSPACE": true}))
		alarm(pb.AlarmRequest_DEACTIVATE)
		next(healthpb.HealthCheckResponse_SERVING)
		first := c.leader().id
		c.stop(first)
		c.leader() // another one, in time
		settle()
		c.stop(c.leader().id)
		if c.members[m.id] != nil {
			next(healthpb.HealthCheckResponse_NOT_SERVING)
			require.EqualError(t, m.server.Health(ctx, true, nil), "RAFT NO LEADER")
			require.NoError(t, m.server.Health(ctx, false, nil))
		}
	})
}

// A member tells by name which checks fail. An alarm for the space fails none.
func TestChecks(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		settle()
		ctx := context.Background()
		m := c.follower()
		failing := func() map[string]string {
			all := make(map[string]string)
			for _, name := range etcdapi.Checks() {
				if err := m.server.Check(ctx, name); err != nil {
					all[name] = err.Error()
				}
			}
			return all
		}
		require.Empty(t, failing())
		for _, kind := range []pb.AlarmType{pb.AlarmType_NOSPACE, pb.AlarmType_CORRUPT} {
			_, err := pb.NewMaintenanceClient(m.conn).Alarm(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: 1, Alarm: kind})
			require.NoError(t, err)
		}
		require.Equal(t, map[string]string{"data_corruption": "alarm activated: CORRUPT"}, failing())
		require.Error(t, m.server.Check(ctx, "other"))
		for id := range maps.Clone(c.members) {
			if id != m.id {
				c.stop(id)
			}
		}
		for range 2 { // in the end of the former leader's time, and without a leader
			limited, cancel := context.WithTimeout(ctx, time.Second/2)
			err := m.server.Check(limited, etcdapi.CheckLinearizableRead)
			cancel()
			require.ErrorContains(t, err, "etcdserver: ")
			settle()
		}
		require.Equal(t, map[string]string{"data_corruption": "alarm activated: CORRUPT", "linearizable_read": "etcdserver: no leader"}, failing())
	})
}

// Server reflection names the services.
func TestReflection(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		stream, err := reflectionpb.NewServerReflectionClient(c.leader().conn).ServerReflectionInfo(context.Background())
		require.NoError(t, err)
		require.NoError(t, stream.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}))
		r, err := stream.Recv()
		require.NoError(t, err)
		var names []string
		for _, s := range r.GetListServicesResponse().Service {
			names = append(names, s.Name)
		}
		require.Subset(t, names, []string{"etcdserverpb.KV", "etcdserverpb.Auth", "v3lockpb.Lock", "v3electionpb.Election", "grpc.health.v1.Health"})
		require.NoError(t, stream.CloseSend())
		_, err = stream.Recv()
		require.Equal(t, io.EOF, err)
	})
}

// Drain ends streams, with an error on which clients go to another member, and no other
// requests.
func TestDrain(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		ctx := context.Background()
		m := c.follower()
		m.granted(t, 1)
		w := c.watches(m)
		w.create(&pb.WatchCreateRequest{Key: []byte("k")})
		alive, err := m.lease.LeaseKeepAlive(ctx)
		require.NoError(t, err)
		require.NoError(t, alive.Send(&pb.LeaseKeepAliveRequest{ID: 1}))
		_, err = alive.Recv()
		require.NoError(t, err)
		_, err = lock(ctx, m, 1)()
		require.NoError(t, err)
		waiting := ask(lock(ctx, m, m.granted(t, 2)))
		waiting.waits(t)
		m.server.Drain()
		_, err = w.stream.Recv()
		require.EqualError(t, err, rpctypes.ErrGRPCStopped.Error())
		_, err = alive.Recv()
		require.EqualError(t, err, rpctypes.ErrGRPCStopped.Error())
		require.EqualError(t, (<-waiting.done).err, rpctypes.ErrGRPCStopped.Error())
		m.put(t, "k", "1")
		done := make(chan struct{})
		go func() { m.grpc.GracefulStop(); close(done) }()
		<-done // nothing is left that holds up the end
	})
}

// lines is the log of several members.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// The log has slow requests, without values, and no others. A request that waits for
// another client is not slow.
func TestSlowRequests(t *testing.T) {
	var log lines
	run(t, etcdapi.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}, func(c *cluster) {
		m := c.leader()
		m.put(t, "fast", "value of fast")
		require.NotContains(t, log.String(), "request stats")
		locks := v3lockpb.NewLockClient(m.conn)
		_, err := locks.Lock(c.Context(), &v3lockpb.LockRequest{Name: []byte("l")})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(c.Context(), time.Second)
		defer cancel()
		_, err = locks.Lock(ctx, &v3lockpb.LockRequest{Name: []byte("l")})
		require.Error(t, err)
		settle()
		require.NotContains(t, log.String(), "request stats")
		for id := range c.members {
			if id != m.id {
				c.stop(id)
			}
		}
		put := &pb.PutRequest{Key: []byte("slow"), Value: []byte("secret")}
		_, err = pb.NewKVClient(m.conn).Put(c.Context(), put)
		require.Error(t, err)
		_, err = pb.NewKVClient(m.conn).Txn(c.Context(), &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}}})
		require.Error(t, err)
		require.Equal(t, 2, strings.Count(log.String(), "request stats"), log.String())
		require.Contains(t, log.String(), "slow")
		require.Contains(t, log.String(), "request type\"=/etcdserverpb.KV/Txn")
		require.NotContains(t, log.String(), "secret")
	})
}
