// Package stack tests large libraries in simulated worlds.
package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"raftlab/sim/world"
)

// TestGRPC calls and watches a service while the network is cut and heals.
func TestGRPC(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	service := health.NewServer()
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, service)
	go server.Serve(l)
	defer server.Stop()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := grpc_health_v1.NewHealthClient(conn)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			r, err := client.Check(context.Background(), &grpc_health_v1.HealthCheckRequest{})
			if err != nil || r.Status != grpc_health_v1.HealthCheckResponse_SERVING {
				t.Error(r, err)
			}
		})
	}
	wg.Wait()
	watch, err := client.Watch(context.Background(), &grpc_health_v1.HealthCheckRequest{Service: "one"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []grpc_health_v1.HealthCheckResponse_ServingStatus{3, 1, 2} {
		if want != 3 {
			service.SetServingStatus("one", want)
		}
		r, err := watch.Recv()
		fmt.Println(r.GetStatus(), err)
		if r.GetStatus() != want {
			t.Errorf("%v, not %v", r.GetStatus(), want)
		}
	}
	if !world.Active() {
		return
	}
	world.Cut("*", l.Addr().String())
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	if _, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{}); status.Code(err) != codes.DeadlineExceeded {
		t.Error("a call over a cut path: ", err)
	}
	world.HealAll()
	if _, err := client.Check(context.Background(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Error("a call after the cut: ", err)
	}
	world.Reset("*", l.Addr().String())
	if _, err := watch.Recv(); err == nil || errors.Is(err, context.Canceled) {
		t.Error("the stream survives a reset: ", err)
	}
	if _, err := client.Check(context.Background(), &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true)); err != nil {
		t.Error("a call after a reset: ", err)
	}
}
