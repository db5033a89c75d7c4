package library

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/client"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/logger"
	"github.com/lni/dragonboat/v4/plugin/tan"
	sm "github.com/lni/dragonboat/v4/statemachine"
)

type dragonSM struct{}

func (dragonSM) Update(e sm.Entry) (sm.Result, error) { return sm.Result{Data: e.Cmd[:8]}, nil }
func (dragonSM) Lookup(any) (any, error)              { return nil, nil }
func (dragonSM) SaveSnapshot(io.Writer, sm.ISnapshotFileCollection, <-chan struct{}) error {
	return nil
}
func (dragonSM) RecoverFromSnapshot(io.Reader, []sm.SnapshotFile, <-chan struct{}) error { return nil }
func (dragonSM) Close() error                                                            { return nil }

type dragon struct {
	hosts   []*dragonboat.NodeHost
	leader  *dragonboat.NodeHost
	session *client.Session
}

// startDragonboat starts three hosts, with the log on pebble, which is the default,
// or with dragonboat's newer log tan.
func startDragonboat(withTan bool) func(dir string) (cluster, error) {
	return func(dir string) (cluster, error) { return newDragonboat(dir, withTan) }
}

func newDragonboat(dir string, withTan bool) (cluster, error) {
	for _, name := range []string{"raft", "rsm", "transport", "grpc", "dragonboat", "logdb", "config", "raftpb", "utils", "tan", "registry", "settings"} {
		logger.GetLogger(name).SetLevel(logger.CRITICAL)
	}
	addresses, err := freeAddresses(3)
	if err != nil {
		return nil, err
	}
	members := make(map[uint64]dragonboat.Target)
	for i, a := range addresses {
		members[uint64(i+1)] = a
	}
	d := &dragon{}
	for i, a := range addresses {
		cfg := config.NodeHostConfig{NodeHostDir: filepath.Join(dir, fmt.Sprint(i+1)), RaftAddress: a, RTTMillisecond: 10}
		if withTan {
			cfg.Expert.LogDBFactory = tan.Factory
		}
		nh, err := dragonboat.NewNodeHost(cfg)
		if err != nil {
			return nil, err
		}
		d.hosts = append(d.hosts, nh)
		err = nh.StartReplica(members, false, func(uint64, uint64) sm.IStateMachine { return dragonSM{} },
			config.Config{ReplicaID: uint64(i + 1), ShardID: 1, ElectionRTT: 100, HeartbeatRTT: 10, CheckQuorum: true})
		if err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (d *dragon) Propose(command []byte) error {
	if d.leader == nil {
		id, _, ok, err := d.hosts[0].GetLeaderID(1)
		if err != nil || !ok {
			return errors.Join(err, errors.New("no leader"))
		}
		d.leader = d.hosts[id-1]
		d.session = d.leader.GetNoOPSession(1)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err := d.leader.SyncPropose(ctx, d.session, command)
	return err
}

func (d *dragon) Close() {
	for _, h := range d.hosts {
		h.Close()
	}
}
